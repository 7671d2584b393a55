#!/bin/bash
# The builder's own keys: made once and kept in CACHE, unless TUTTI_SIGNING names another directory
# that holds them. Prints the directory. In it: key.pem and cert.pem, with which firmware judges
# (Secure Boot), and pgp.key, with which GRUB does.
set -euo pipefail
umask 077
cache=${1:?usage: signing.sh CACHE}
keys=${TUTTI_SIGNING:-$cache/signing}
if [ ! -d "$keys" ] && [ -z "${TUTTI_SIGNING:-}" ]; then
    new=$(mktemp -d "$cache/.signing.XXXXXX")
    openssl req -x509 -newkey rsa:3072 -sha256 -nodes -days 7300 -subj "/CN=Tutti image builder" \
        -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
        -addext extendedKeyUsage=codeSigning -keyout "$new/key.pem" -out "$new/cert.pem" 2> /dev/null
    mkdir "$new/home"
    pgp() { gpg --homedir "$new/home" --batch --quiet --pinentry-mode loopback --passphrase '' "$@"; }
    pgp --quick-gen-key "Tutti image builder" rsa3072 sign never 2> /dev/null
    pgp --export-secret-keys > "$new/pgp.key"
    GNUPGHOME=$new/home gpgconf --kill all
    rm -rf "$new/home"
    mv "$new" "$keys"
fi
for file in key.pem cert.pem pgp.key; do
    [ -s "$keys/$file" ] || { echo "signing: no $file in $keys" >&2; exit 1; }
done
echo "$keys"
