#!/usr/bin/env bash
# Random reads of 4 KiB a second, 32 at a time, by libvfn's example `perf`, a driver of NVMe over VFIO that polls: on our controller under
# `ioasis exec`, from outside and in the program's process, and in a Linux guest on QEMU's controller behind QEMU's VT-d (no KVM).
#
#   benchmarks/native/reads.sh LIBVFN
#
#   LIBVFN   a folder with libvfn's source (https://github.com/SamsungDS/libvfn), which is not changed
#
# Needs meson, ninja, gcc and libnvme (Debian: meson, libnvme-dev). SECONDS_EACH (5): how long each run takes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
say() { echo "reads: $*" >&2; }
fail() { say "$*"; exit 2; }
[ $# -eq 1 ] && [ -f "$1/meson.build" ] || fail "the folder of libvfn's source is needed: benchmarks/native/reads.sh LIBVFN"
for tool in meson ninja gcc; do
  command -v "$tool" > /dev/null || fail "'$tool' is needed"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seconds=${SECONDS_EACH:-5}
meson setup "$work/build" "$1" --buildtype=release --default-library=static -Dwerror=false > "$work/log" 2>&1 \
  && ninja -C "$work/build" examples/perf >> "$work/log" 2>&1 || { cat "$work/log" >&2; fail "libvfn was not built"; }
perf=$work/build/examples/perf

# Queues of 1,024 entries: as long as the controller allows it would make them 65,536, for which its counter of 16 bits never turns.
arguments=(--nsid 1 --io-depth 32 --io-qsize 1024 --io-pattern randread --warmup 1 --runtime "$seconds")
export VFN_IOMMU_FORCE_VFIO=1
report() { sed -n '/iops/{n;s/^ *\([0-9]*\).*/\1 reads a second/p}'; }

"$root/native"
for way in supervisor preload; do
  echo "ioasis exec --via $way: $("$root/ioasis" exec --via "$way" --device nvme,size=64M,lba=4096 -- "$perf" --device 0000:00:01.0 "${arguments[@]}" 2> /dev/null | report)"
done

qemu=$("$root/lab/fetch" qemu-x86)
busybox=$("$root/lab/fetch" busybox)
kernel=$("$root/lab/fetch" kernel-amd64)
modules=$kernel/modules/$(cat "$kernel/version")/kernel
tree=$work/tree
source "$root/lab/initramfs.sh"
cat > "$work/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin LD_LIBRARY_PATH=/lib VFN_IOMMU_FORCE_VFIO=1
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
echo vfio-pci > /sys/bus/pci/devices/0000:00:04.0/driver_override
echo 0000:00:04.0 > /sys/bus/pci/drivers_probe
perf --device 0000:00:04.0 $(cat /arguments)
poweroff -f
INIT
begin_initramfs "$work/init"
cp "$perf" "$tree/bin/perf"
ldd "$perf" | sed -nE 's#^[^/]*(/[^ ]+) \(0x.*#\1#p' | add_libraries
for module in vfio iommufd vfio-iommu-type1 vfio-pci; do
  add_module "$module"
done
echo "${arguments[*]}" > "$tree/arguments"
pack_initramfs
truncate -s 64M "$work/disk"
timeout 600 "$qemu" -accel tcg,thread=multi -M q35,kernel-irqchip=split -cpu max -smp 2 -m 1024 -nodefaults -no-reboot -display none \
  -device intel-iommu,intremap=on,caching-mode=on,aw-bits=39 -drive if=none,id=d0,format=raw,file="$work/disk" \
  -device nvme,drive=d0,serial=1,addr=4,logical_block_size=4096,physical_block_size=4096 \
  -kernel "$kernel/vmlinuz" -initrd "$work/initramfs" \
  -append "console=ttyS0 quiet panic=-1 no_timer_check intel_iommu=on" -serial "file:$work/console" \
  || { tail -20 "$work/console" >&2; fail "the guest did not end"; }
echo "in a guest on QEMU's controller: $(report < "$work/console")"
