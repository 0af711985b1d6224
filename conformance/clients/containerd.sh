#!/usr/bin/env bash
# A containerd of one's own with its CRI plugin, which is what a kubelet talks to, on a machine without systemd.
#   containerd.sh start DIR   prints the socket to use; DIR/certs.d has a hosts.toml for each image host
#                             $PAUSE_IMAGE is needed only to run pods; $NIXREG_CONTAINERD_REGISTRY has lines for
#                             config.toml in place of those that name DIR/certs.d
#   containerd.sh stop DIR    stops that containerd and removes DIR
set -euo pipefail
dir=${2:?usage: containerd.sh start|stop DIR}
socket=$dir/containerd.sock

registry="[plugins.\"io.containerd.grpc.v1.cri\".registry]
  config_path = \"$dir/certs.d\""

configure() {
  mkdir -p "$dir/certs.d" "$dir/cni"
  cat >"$dir/config.toml" <<T
version = 2
root = "$dir/root"
state = "$dir/state"
[grpc]
  address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE:-nixreg.invalid/pause:latest}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "$dir/cni"
${NIXREG_CONTAINERD_REGISTRY:-$registry}
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/opt"
T
}

start() {
  local pid i
  configure
  setsid containerd -c "$dir/config.toml" </dev/null >"$dir/containerd.log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/containerd.pid"
  for ((i = 0; i < 300; i++)); do
    ctr -a "$socket" version >/dev/null 2>&1 && { echo "$socket"; return; }
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$dir/containerd.log" >&2
  return 1
}

stop() {
  local pid i
  if pid=$(cat "$dir/containerd.pid" 2>/dev/null) && kill "$pid" 2>/dev/null; then
    for ((i = 0; i < 150; i++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.2
    done
  fi
  findmnt -rno TARGET | awk -v d="$dir/" 'index($0, d) == 1' | sort -r | xargs -r umount
  rm -rf "$dir"
}

case $1 in
  start | stop) "$1" ;;
  *) echo "usage: containerd.sh start|stop DIR" >&2; exit 2 ;;
esac
