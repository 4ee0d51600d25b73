# Functions for scripts that boot a Linux guest: an initramfs of busybox, modules of a kernel package and what else a script
# puts there. A script sources this after it has set `busybox` (a static busybox of this machine's, and `guest_busybox` where the
# guest's architecture is another), `modules` (a kernel's folder of modules, or empty where everything is built in), `tree` (the
# initramfs) and `work` (a temporary folder), and has a function `fail`.

# Lays the tree: init, busybox, and the folders that init mounts on.
begin_initramfs() { # begin_initramfs INIT
  mkdir -p "$tree"/{bin,modules,lib64,lib} || fail "cannot write $tree"
  cp "$1" "$tree/init" && chmod +x "$tree/init" && cp "${guest_busybox:-$busybox}" "$tree/bin/busybox" || fail "cannot copy $1"
  : > "$tree/modules/order"
}

# Adds a module after those that it depends on; nothing where it is built in. init loads them in the order of modules/order.
add_module() { # add_module NAME
  local name=${1//_/-} file needed
  [ -n "$modules" ] || return 0
  ! grep -qx "$name.ko" "$tree/modules/order" || return 0
  file=$(find -L "$modules" -name "$name.ko*" -o -name "${name//-/_}.ko*" | head -1)
  [ -n "$file" ] || return 0
  case "$file" in
    *.xz) "$busybox" xzcat "$file" ;;
    *.gz) "$busybox" zcat "$file" ;;
    *.zst) zstd -dcq "$file" ;;
    *) cat "$file" ;;
  esac > "$work/module.$name" || fail "cannot unpack $file"
  for needed in $(tr '\0' '\n' < "$work/module.$name" | sed -n 's/^depends=//p' | tr ',' ' '); do
    add_module "$needed"
  done
  mv "$work/module.$name" "$tree/modules/$name.ko" || fail "cannot write $tree/modules"
  echo "$name.ko" >> "$tree/modules/order"
}

# Adds libraries of this machine, whose paths are read, where the loader finds them.
add_libraries() {
  local library
  while read -r library; do
    case "$library" in
      */ld-linux*) cp -L "$library" "$tree/lib64/" ;;
      *) cp -L "$library" "$tree/lib/" ;;
    esac || fail "cannot copy $library"
  done
}

# Packs the tree into $work/initramfs.
pack_initramfs() {
  (cd "$tree" && find . | "$busybox" cpio -o -H newc 2> /dev/null) > "$work/initramfs" || fail "cannot make the initramfs"
}
