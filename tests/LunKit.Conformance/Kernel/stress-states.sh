# To be sourced by stress.sh: the bad states that an operator can come into, what `lunkit doctor` must say of each, and that its advice helps.

# says WORDS...: the doctor finds something wrong, and says it in these words.
# A handler that tries a device again has it open for a moment, and so it looks handled then.
says() {
  local tries
  for tries in 1 2 3; do
    limit 60 "$lunkit" doctor || break
    ((tries < 3)) || fail "the doctor does not find $*: $(</tmp/limited)"
    rest 0.5
  done
  words "$@"
}
# notes WORDS...: nothing is wrong, and it says these words.
notes() { well; words "$@"; }
words() { local word; for word in "$@"; do [[ $(</tmp/limited) == *"$word"* ]] || fail "the doctor does not say '$word': $(</tmp/limited)"; done; }
well() { limit 60 "$lunkit" doctor || fail "the doctor finds: $(</tmp/limited)"; }
# follow WORDS: does what the doctor has said to what it has said in these words: a command.
follow() {
  local advice
  advice=$(grep -F -A1 -- "$1" /tmp/limited | sed -n 2p)
  limit 20 eval "${advice##*: }" || fail "the doctor's advice for '$1' does not help: $advice: $(</tmp/limited)"
}

# What is there before the first handler: one that wants no replies, while no other has wanted any.
first_states() {
  last="states replies off"
  handler_start --no-replies || fail "the handler does not start"
  make off "file/$images/off" 1048576
  await 60 served off || fail "off is not served"
  notes "/off " "netlink replies are off" "without --no-replies"
  unmake off $images/off
  # Its image is locked until it is closed, and nobody waits for that.
  handler_stop || fail "the handler ends with $?"
}
act_states() {
  pick blocked nobody held stopped waiting unheard runner longer unfit refused
  last+=" $picked"
  state_$picked
}
# A handler that has just come blocks and admits what it takes over, so it is waited for.
served_device() { some_device && at "$name" && { await 60 served "$name" || fail "$name is not served"; }; }
state_blocked() {
  served_device || return 0
  limit 20 put 1 $folder/action/block_dev || fail "block_dev: $(</tmp/limited)"
  says "/$name " "is blocked"
  follow "/$name "
  well
}
state_nobody() {
  handler_kill
  says "/load " "has no handler" "start the handler of 'file' (lunkit handle)"
  handler_again
}
state_held() {
  limit 20 put 1 /sys/module/target_core_user/parameters/block_netlink || fail "block_netlink: $(</tmp/limited)"
  says "block_netlink"
  follow "block_netlink"
  well
}
state_stopped() {
  await 60 served load || fail "load is not served"
  kill -STOP $handler
  says "/load " "process $handler, which is stopped"
  follow "/load "
  well
}
# Somebody waits for the reply of a handler that is stopped.
state_waiting() {
  local waiting
  await 60 served load || fail "load is not served"
  kill -STOP $handler
  limit 30 mkdir -p $target/core/user_0/waits || fail "mkdir waits: $(</tmp/limited)"
  enable $target/core/user_0/waits memory/x 1048576 >/tmp/waiting 2>&1 &
  waiting=$!
  await 30 sleeps $waiting || fail "nobody waits for the handler that is stopped: $(</proc/$waiting/wchan)"
  says "process $waiting (" "a handler's reply by netlink" "process $handler is stopped and owes it"
  follow "process $waiting ("
  ends $waiting 60 "the one that waited for the handler" || fail "waits cannot be made: $(</tmp/waiting)"
  limit 60 rmdir $target/core/user_0/waits || fail "removing waits: $(</tmp/limited)"
}
sleeps() { local text; read -r text </proc/$1/stat; [[ ${text##*) } == D* ]]; }
# The same when there is no handler: the next one ends the wait, with a reply or without.
state_unheard() {
  local waiting
  handler_kill
  limit 30 mkdir -p $target/core/user_0/waits || fail "mkdir waits: $(</tmp/limited)"
  enable $target/core/user_0/waits memory/x 1048576 >/tmp/waiting 2>&1 &
  waiting=$!
  await 30 sleeps $waiting || fail "nobody waits for a handler: $(</proc/$waiting/wchan)"
  says "process $waiting (" "a handler's reply by netlink" 'start `lunkit handle`'
  handler_again
  ends $waiting 60 "the one that waited for a handler"
  limit 60 rmdir $target/core/user_0/waits || fail "removing waits: $(</tmp/limited)"
}
state_runner() {
  local runner
  cp "$(type -P sleep)" /tmp/tcmu-runner
  /tmp/tcmu-runner 1000 &
  runner=$!
  await 60 served load || fail "load is not served"
  notes "tcmu-runner, process $runner, runs beside LunKit" "nl_reply_supported=-1" "systemctl disable --now tcmu-runner"
  kill $runner
  ends $runner 20 "the runner"
}
# Of an image that somebody has made longer the device is the first part.
state_longer() {
  served_device || return 0
  handler_kill
  truncate -s $((size[$name] + 65536)) "$images/$name"
  handler_again
  await 60 served "$name" || fail "$name is not served when its image is longer"
  logged "has $((size[$name] + 65536)) bytes, of which the first ${size[$name]} are served" || fail "the log does not say that the image is longer: $(<$log)"
  [[ -z ${lun[$name]:-} ]] || check_all "$name"
  # Its handler has it open: it is cut when it is not.
  handler_kill
  truncate -s ${size[$name]} "$images/$name"
  handler_again
  await 60 served "$name" || fail "$name is not served when its image is right again"
}
# Something else in its place, without a block, is refused; the image is served when it is back.
state_unfit() {
  served_device || return 0
  handler_kill
  mv "$images/$name" "$images/$name.away"
  : >"$images/$name"
  handler_again
  await 60 served load || fail "load is not served"
  # One that nobody uses is noted only.
  "$([[ -n ${lun[$name]:-} ]] && echo says || echo notes)" "/$name " "has no handler" "though ${lunkit##*/}, process $handler runs" 'the log of `lunkit handle` says why'
  logged "has 0 bytes, less than one block" || fail "the log does not say why: $(<$log)"
  mv "$images/$name.away" "$images/$name"
  await 60 served "$name" || fail "$name is not served when its image is right"
}
state_refused() {
  limit 30 mkdir -p $target/core/user_0/bad || fail "mkdir bad: $(</tmp/limited)"
  ! limit 40 enable $target/core/user_0/bad nobody/x 1048576 || fail "nobody/x is served"
  await 60 served load || fail "load is not served"
  notes "/bad (nobody/x) is not enabled" "echo 1 > $target/core/user_0/bad/enable"
  limit 40 rmdir $target/core/user_0/bad || fail "rmdir bad: $(</tmp/limited)"
}
# Within the actions that make them.
state_missing() { says "/load " "its image $images/load is missing" "move the image back"; }
state_full() { says "/full " "the file system of $1 is full" "make room"; }
