# To be sourced by stress.sh: what an operator may do, and what must be true then.
act_create() {
  ((${#size[@]} < 8)) || return 0
  local name=d$((RANDOM % 16)) bytes=$(((RANDOM % 64 + 16) * 65536))
  [[ -n ${size[$name]:-} ]] || make "$name" "file/$images/$name" $bytes
}
act_refused() {
  local config
  pick nobody/x "file//nowhere/x" "file/$images"
  config=$picked
  limit 30 mkdir -p $target/core/user_0/bad || fail "mkdir bad"
  ! limit 40 enable $target/core/user_0/bad "$config" 1048576 || fail "$config is served"
  # The same name, rightly, and at once.
  if ((RANDOM % 2)); then limit 40 enable $target/core/user_0/bad memory/x 1048576 || fail "bad cannot be made good: $(</tmp/limited)"; fi
  limit 40 rmdir $target/core/user_0/bad || fail "rmdir bad"
}
act_link() { some_device || return 0; [[ -n ${lun[$name]:-} ]] || plug "$name" "${name#d}"; }
act_unlink() { some_disk || return 0; unplug "$name"; }
act_destroy() { some_device || return 0; [[ -n ${lun[$name]:-} ]] || unmake "$name" "$images/$name"; }
act_write() { some_disk || return 0; write_block "$name"; }
act_check() { some_disk || return 0; check_some "$name"; }
act_grow() {
  some_device || return 0
  local bytes=$((size[$name] + (RANDOM % 8 + 1) * 65536))
  at "$name" && limit 40 put $bytes $folder/attrib/dev_size || fail "$name does not grow: $(</tmp/limited)"
  size[$name]=$bytes
  [[ -z ${lun[$name]:-} ]] || { disk_of "$name" && limit 60 put 1 "/sys/block/${disk##*/}/device/rescan"; }
}
act_shrink() {
  some_device || return 0
  at "$name" && ! limit 40 put $((size[$name] - 512 * (RANDOM % 100 + 1))) $folder/attrib/dev_size || fail "$name was cut off"
  [[ $(stat -c %s "$images/$name") -ge ${size[$name]} ]] || fail "the image of $name is shorter"
}
act_rewrite() {
  some_device || return 0
  at "$name" && limit 40 put "file/$images/$name" $folder/attrib/dev_config || fail "the configuration of $name is refused: $(</tmp/limited)"
}

handler_kill() { kill -9 $handler; ends $handler 30 "the killed handler"; }
handler_again() { handler_start || fail "no handler starts: $(<$log)"; }
# Somebody writes while the handler is killed.
act_crash() {
  if some_disk; then begin_write "$name"; else writer=; fi
  handler_kill
  handler_again
  [[ -z $writer ]] || { end_write || fail "writing $began over the crash: $(</tmp/writing)"; check_block "$began" "$block"; }
}
act_restart() {
  kill -TERM $handler
  ends $handler 60 "the stopped handler" || fail "the handler ends with $?: $(<$log)"
  handler_again
}
act_pause() { kill -STOP $handler && rest 1; kill -CONT $handler; }
# It stands still for less than anybody's patience.
act_stop_short() {
  some_disk || return 0
  kill -STOP $handler
  begin_write "$name"
  rest $((RANDOM % 6 + 1))
  kill -CONT $handler
  end_write || fail "writing $began over the stop: $(</tmp/writing)"
  check_some "$name"
}
# It stands still for longer than a device's patience: what was out fails, and nothing else ever does.
act_stop_long() {
  local i
  make slow "file/$images/slow" 1048576
  limit 30 put 2 $folder/attrib/cmd_time_out || fail "cmd_time_out: $(</tmp/limited)"
  plug slow 21
  for i in 1 2 3; do write_block slow; done
  kill -STOP $handler
  begin_write slow
  rest 5
  ! ended $writer || wait $writer || true
  if ((RANDOM % 2)); then await 60 ended $writer || hang $writer "a write behind cmd_time_out"; fi
  kill -CONT $handler
  end_write || grep -qi 'input/output error' /tmp/writing || fail "writing slow failed otherwise: $(</tmp/writing)"
  check_all slow
  for i in 1 2 3; do write_block slow; done
  check_all slow
  unplug slow
  unmake slow $images/slow
}

# No room under an image, and room again.
act_full() {
  local free
  mkdir -p /tmp/full && limit 20 mount -t tmpfs -o size=2M full /tmp/full || fail "mounting"
  make full file//tmp/full/image 4194304
  plug full 22
  for free in 3 9 27; do write_block full $free; done
  head -c 4M /dev/zero >/tmp/full/rest 2>/dev/null
  begin_write full 40
  ! end_write || fail "a write without room was good"
  grep -qi 'no space left' /tmp/writing || fail "a write without room failed otherwise: $(</tmp/writing)"
  # What has its room can be written and read all the same.
  write_block full 9
  check_all full
  [[ $(type -t state_full) != function ]] || state_full /tmp/full/image
  rm /tmp/full/rest
  for free in 40 50 3; do write_block full $free; done
  check_all full
  unplug full
  unmake full /tmp/full/image
  limit 20 umount /tmp/full || fail "the file system of the image stays in use: $(</tmp/limited)"
}

# Fifty at once, half of them files.
act_many() {
  local i all=() several=/dev/shm/many
  mkdir -p $several
  for ((i = 0; i < 50; i++)); do one_of_many $i $several >/tmp/many.$i 2>&1 & all+=($!); done
  for i in "${!all[@]}"; do ends ${all[i]} 240 "making many.$i" || fail "many.$i cannot be made: $(</tmp/many.$i)"; done
  [[ $(ls $several | grep -c '^[0-9]*$') == 25 ]] || fail "of 25 images there are $(ls $several)"
  all=()
  for ((i = 0; i < 50; i++)); do rmdir $target/core/user_0/many.$i >/tmp/many.$i 2>&1 & all+=($!); done
  for i in "${!all[@]}"; do ends ${all[i]} 240 "removing many.$i" || fail "many.$i is not removed: $(</tmp/many.$i)"; done
  rm -rf $several
}
one_of_many() {
  local folder=$target/core/user_0/many.$1
  mkdir -p $folder || return 1
  if (($1 % 2)); then enable $folder file/$2/$1 1048576; else enable $folder memory/$1 1048576; fi
}

# The whole configuration is saved, cleared, and restored; at times the handler is not there when it begins.
act_targetcli() {
  local name restoring status
  local -A luns=()
  load_off
  for name in "${!lun[@]}"; do luns[$name]=${lun[$name]}; done
  limit 200 targetcli saveconfig /tmp/saved.json || fail "saveconfig: $(</tmp/limited)"
  limit 300 targetcli clearconfig confirm=True || fail "clearconfig: $(</tmp/limited)"
  [[ -z $(ls -d $target/core/user_*/*/ 2>/dev/null) ]] || fail "clearconfig leaves $(ls -d $target/core/user_*/*/)"
  if ((RANDOM % 2)); then
    kill -TERM $handler
    ends $handler 60 "the stopped handler"
    targetcli restoreconfig /tmp/saved.json >/tmp/restored 2>&1 &
    restoring=$!
    rest 8
    handler_again
    ends $restoring 300 "restoreconfig"
    status=$?
    # Whoever waited when the handler came is sent away (EINTR): that one device is for a second attempt.
    ((status == 0)) || again_one_by_one || fail "restoreconfig: $(</tmp/restored)"
  else
    limit 300 targetcli restoreconfig /tmp/saved.json || fail "restoreconfig: $(</tmp/limited)"
  fi
  lun=()
  for name in "${!luns[@]}"; do lun[$name]=${luns[$name]}; await 60 disk_of "$name" || fail "$name has no disk when it is restored"; done
  for name in "${!size[@]}"; do
    at "$name" || fail "$name is not restored"
    [[ $(<$folder/attrib/dev_size) == "${size[$name]}" ]] || fail "$name has $(<$folder/attrib/dev_size) bytes, and had ${size[$name]}"
  done
  for name in "${!lun[@]}"; do check_some "$name"; done
  lun[load]=$load_lun
  await 60 disk_of load || fail "load has no disk when it is restored"
  unset "lun[load]"
  put 600 "/sys/block/${disk##*/}/device/timeout"
  load_disk=$disk
  load_on
}
again_one_by_one() {
  limit 300 targetcli clearconfig confirm=True && limit 300 targetcli restoreconfig /tmp/saved.json && return
  cp /tmp/limited /tmp/restored
  return 1
}

second_start() {
  if [[ $log == /tmp/second.log ]]; then other=/tmp/handle.log; else other=/tmp/second.log; fi
  : >$other
  "$lunkit" handle >>$other 2>&1 &
  second=$!
  await 60 grep -q 'LunKit handles' $other || fail "the second handler does not start"
}
# A second one comes and goes; nobody notices.
act_second() {
  second_start
  ((RANDOM % 2)) && act_create
  ((RANDOM % 2)) && act_write
  kill -TERM $second
  ends $second 60 "the second handler" || fail "the second handler ends with $?: $(<$other)"
}
# It stays, and the first one is killed: it takes over.
act_swap() {
  local name
  second_start
  if some_disk; then begin_write "$name"; else writer=; fi
  handler_kill
  handler=$second log=$other
  for name in load "${!size[@]}"; do await 60 served "$name" || fail "nobody takes $name over"; done
  [[ -z $writer ]] || { end_write || fail "writing $began over the change of handlers: $(</tmp/writing)"; check_block "$began" "$block"; }
}
served() { grep -q "/$1/file/.* is served" $log; }
# The folder of the images is gone when the handler starts, and comes back.
act_away() {
  local name
  handler_kill
  mv $images $images.away && mkdir $images
  handler_again
  rest 3
  [[ -z $(ls $images) ]] || fail "images were made anew: $(ls $images)"
  [[ $(type -t state_missing) != function ]] || state_missing
  rmdir $images && mv $images.away $images
  for name in load "${!size[@]}"; do await 60 served "$name" || fail "$name is not served when its image is back"; done
}

act_doctor() { limit 60 "$lunkit" doctor || fail "the doctor finds: $(</tmp/limited)"; }
act_attach() {
  local attacher
  rm -f /dev/shm/at.img /tmp/attach.out
  "$lunkit" attach /dev/shm/at.img,size=4M --name at >/tmp/attach.out 2>/tmp/attach.err &
  attacher=$!
  await 100 test -s /tmp/attach.out || fail "attach: $(</tmp/attach.err)"
  limit 100 dd if=/dev/urandom of="$(</tmp/attach.out)" bs=64k seek=$((RANDOM % 64)) count=1 oflag=direct || fail "writing at: $(</tmp/limited)"
  if ((RANDOM % 2)); then kill -9 $attacher; else kill -TERM $attacher; fi
  ends $attacher 100 "attach"
  [[ ! -d $target/core/user_0/at ]] || limit 100 "$lunkit" detach at || fail "detach: $(</tmp/limited)"
  [[ ! -d $target/core/user_0/at ]] || fail "at is left"
}
