#!/bin/bash
# Runs a command as root inside the lab kernel (Debian's, which has AH; this machine's may not).
#
#   run.sh [--timeout SECONDS] [--out DIR] -- COMMAND [ARGUMENT...]
#
# The guest sees the tutti binary ($TUTTI_BIN, else target/debug/tutti) on its PATH, tests/lab as
# /job/lab, tests/bench/ike as /job/bench, tests/bench/node as /job/node, and an empty /out that is
# brought back to DIR. Output streams as it is printed; the exit code is the command's, or 125 when the
# guest itself failed.
#
# With TUTTI_LAB_ICOUNT=1 the guest's clock counts instructions (2 ns each): slower, but what it
# times does not depend on what else this machine does.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
timeout=300
out=
while [ $# -gt 0 ]; do
  case $1 in
    --timeout) timeout=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --) shift; break ;;
    *) echo "run.sh: unknown option $1; usage: run.sh [--timeout S] [--out DIR] -- COMMAND" >&2
       exit 125 ;;
  esac
done
[ $# -gt 0 ] || { echo "run.sh: no command given" >&2; exit 125; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tutti
root=$("$here/root.sh" "$cache")
work=$(mktemp -d "${TMPDIR:-/tmp}/tutti-lab.XXXXXX")
trap 'rm -rf "$work"' EXIT

# One guest boot: $1 the accelerator, the rest more QEMU arguments; the console is stdout.
boot() {
  local accel=$1 kernel_args=$2
  shift 2
  exec qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35,graphics=off,smbus=off,sata=off,vmport=off -accel "$accel" \
    ${TUTTI_LAB_ICOUNT:+-icount shift=1,sleep=off} -cpu max,-cx16,-la57 -smp 2 -m "${TUTTI_LAB_MEMORY:-1536}" -serial stdio \
    -kernel "$root/vmlinuz" -initrd "$root/initrd" \
    -append "console=ttyS0 no_timer_check quiet loglevel=1 panic=-1 mitigations=off audit=0 $kernel_args" \
    "$@" < /dev/null
}

# /dev/kvm may exist and still run no ordinary kernel: only a boot tells. Asked once per boot of
# this machine.
accelerator() {
  local answer="$cache/lab-kvm-$(cat /proc/sys/kernel/random/boot_id)"
  if [ ! -e "$answer" ]; then
    echo no > "$answer.$$"
    if [ -w /dev/kvm ]; then
      boot kvm lab.probe 2> /dev/null > "$work/probe" &
      local probe=$!
      for _ in $(seq 50); do
        grep -q 'probe answered' "$work/probe" 2> /dev/null && { echo yes > "$answer.$$"; break; }
        kill -0 $probe 2> /dev/null || break
        sleep 0.1
      done
      kill $probe 2> /dev/null || true
      wait $probe 2> /dev/null || true
    fi
    mv "$answer.$$" "$answer"
  fi
  if [ -n "${TUTTI_LAB_ICOUNT:-}" ]; then echo tcg,thread=single,tb-size=512
  elif [ "$(cat "$answer")" = yes ]; then echo kvm; else echo tcg,thread=multi,tb-size=512; fi
}

binary=${TUTTI_BIN:-$here/../../target/debug/tutti}
mkdir -p "$work/job/bin"
if [ -x "$binary" ]; then
  # A tenth of the size without debug information; the lab's disk is read under emulation.
  strip -o "$work/job/bin/tutti" "$binary" 2> /dev/null || cp "$binary" "$work/job/bin/tutti"
fi
cp -r "$here" "$work/job/lab"
cp -r "$here/../bench/ike" "$work/job/bench"
cp -r "$here/../bench/node" "$work/job/node"
for place in bench node; do cp "$here/postcard.py" "$work/job/$place/"; done
echo "$timeout" > "$work/job/timeout"
printf '%q ' "$@" > "$work/job/command"
tar cf "$work/job.tar" -C "$work/job" .
truncate -s %512 "$work/job.tar"
truncate -s 1G "$work/out.img"

# The guest ends the command by itself; the outer limit is for a guest that hangs. Under emulation
# with several threads a kernel now and then dies of its own code patching as it boots (`Oops:
# int3`): a guest that ended before the job began says nothing of the job, and boots again.
accel=$(accelerator)
set +e
for attempt in 1 2 3; do
  timeout -k 5 $((timeout + 90)) bash -c "$(declare -f boot); root=$(printf %q "$root"); boot \"\$@\"" \
    boot "$accel" "" \
    -drive id=r,file="$root/root.ext4",format=raw,if=none,snapshot=on \
    -device virtio-blk-pci,drive=r \
    -drive id=j,file="$work/job.tar",format=raw,if=none,readonly=on -device virtio-blk-pci,drive=j \
    -drive id=o,file="$work/out.img",format=raw,if=none,cache=unsafe \
    -device virtio-blk-pci,drive=o |
    tee "$work/console" | sed -un '/lab: up after/,$ {/lab: up after/d; /reboot: Power down/d; p}'
  grep -q 'lab: up after' "$work/console" && break
  echo "run.sh: the lab guest ended before the job began (boot $attempt of 3)" >&2
done
set -e

mkdir -p "$work/out"
tar xf "$work/out.img" -C "$work/out" 2> /dev/null || true
code=$(cat "$work/out/.code" 2> /dev/null || echo 125)
if [ "$code" = 125 ]; then
  echo "run.sh: the lab guest did not finish; the end of its console:" >&2
  tail -20 "$work/console" >&2
fi
if [ -n "$out" ]; then
  mkdir -p "$out"
  rm -f "$work/out/.code"
  cp -r "$work/out/." "$out/"
  cp "$work/console" "$out/console"
fi
exit "$code"
