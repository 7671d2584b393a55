#!/bin/sh
# The systemctl of a lab node, which has no systemd. Of what `host` asks of it only networkd's part
# is done: eth0 gets the addresses of the rendered file; a family without any keeps what it has.
case "$*" in
  *systemd-networkd.service)
    for address in $(sed -n 's/^Address=//p' /etc/systemd/network/10-tutti.network); do
      case $address in
        *:*) ip -6 addr flush dev eth0 scope global && ip addr add "$address" dev eth0 nodad ;;
        *) ip -4 addr flush dev eth0 && ip addr add "$address" dev eth0 ;;
      esac || exit 1
    done
    ;;
esac
