#!/usr/bin/env bash
# A Docker engine of one's own for the tests, on a Debian machine without systemd; it touches no network.
#   docker.sh start   prints the DOCKER_HOST to use
#   docker.sh stop    stops that engine and removes all it left
# With another directory in $NIXREG_DOCKER_DIR it is an engine beside the first; $NIXREG_DOCKER_CONFIG is its daemon.json.
set -euo pipefail
cd "$(dirname "$0")"
dir=${NIXREG_DOCKER_DIR:-/var/tmp/nixreg-docker}
export DOCKER_HOST=unix://$dir/docker.sock

start() {
  if ! docker version >/dev/null 2>&1; then
    ../apt-install.sh docker.io iptables fuse-overlayfs
    mkdir -p "$dir"
    echo "${NIXREG_DOCKER_CONFIG:-{\}}" >"$dir/daemon.json" # not the machine's own, which may contradict the flags below
    launch overlay2 || launch fuse-overlayfs || launch vfs || { tail -20 "$dir/dockerd.log" >&2; return 1; }
  fi
  echo "$DOCKER_HOST"
}

launch() { # which storage driver works depends on the file system below $dir
  local bridge=none
  [ ! -e /sys/class/net/docker0 ] || bridge=docker0 # without a bridge dockerd removes the one of an engine beside it
  setsid dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" --host "$DOCKER_HOST" \
    --storage-driver "$1" --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge="$bridge" \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /nixreg-docker </dev/null >"$dir/dockerd.log" 2>&1 &
  local pid=$! i
  for ((i = 0; i < 150; i++)); do
    docker version >/dev/null 2>&1 && return
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.2
  done
  kill "$pid"
  return 1
}

stop() {
  local pid i
  if pid=$(cat "$dir/docker.pid" 2>/dev/null) && kill "$pid" 2>/dev/null; then
    for ((i = 0; i < 150; i++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.2
    done
  fi
  findmnt -rno TARGET | awk -v d="$dir/" 'index($0, d) == 1' | sort -r | xargs -r umount || true
  find /sys/fs/cgroup -depth -type d -path '*/nixreg-docker*' -exec rmdir {} + 2>/dev/null || true
  rm -rf "$dir"
}

case ${1:-start} in
  start | stop) "$1" ;;
  *) echo "usage: docker.sh start|stop" >&2; exit 2 ;;
esac
