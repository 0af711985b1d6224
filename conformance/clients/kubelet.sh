#!/usr/bin/env bash
# A real kubelet, standalone, over a containerd of its own: it pulls an image of nix.example, which is mirrored at a
# nixreg, and runs it as a static pod. Prints the pod's state and what it said. As root, without systemd, cgroup v1.
#   kubelet.sh REGISTRY IMAGE     such as: kubelet.sh 127.0.0.1:5000 nix.example/hello
# $NIXREG_POD is the pod's manifest, in place of one of that image; it needs hostNetwork, as there is no other.
# The first time it builds the kubelet from its Go module: about five minutes, 2 GB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
registry=${1:?usage: kubelet.sh REGISTRY IMAGE} image=${2:?usage: kubelet.sh REGISTRY IMAGE}
version=v1.34.4 cache=${XDG_CACHE_HOME:-$HOME/.cache}/nixreg-conformance/kubelet
dir=$(mktemp -d /tmp/nixreg-kubelet.XXXX)
export PAUSE_IMAGE=nixreg.test/pause:latest

build_kubelet() {
  [ -x "$cache/kubelet" ] && return
  mkdir -p "$cache/build" && cd "$cache/build"
  echo 'module nixreg.test/kubelet' >go.mod
  local mod staging=v0${version#v1}
  mod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\s*"GoMod": "\(.*\)",\{0,1\}$/\1/p')
  sed -E -e 's#^module .*#module nixreg.test/kubelet#' -e "s#=> \./staging/src/(k8s.io/[a-z-]+)#=> \1 $staging#" "$mod" >go.mod
  echo "require k8s.io/kubernetes $version" >>go.mod
  printf '//go:build tools\n\npackage tools\n\nimport _ "k8s.io/kubernetes/cmd/kubelet"\n' >tools.go
  GOFLAGS='-mod=mod -buildvcs=false' CGO_ENABLED=0 go build -trimpath -o "$cache/kubelet" k8s.io/kubernetes/cmd/kubelet
}

import_pause() { # the sandbox's image: a static program that sleeps
  mkdir -p "$dir/pause/bin"
  printf 'package main\n\nimport "time"\n\nfunc main() {\n\tfor {\n\t\ttime.Sleep(time.Hour)\n\t}\n}\n' >"$dir/pause/main.go"
  (cd "$dir/pause" && CGO_ENABLED=0 go build -trimpath -o bin/pause main.go)
  tar -C "$dir/pause" --owner=0 --group=0 -cf "$dir/layer.tar" bin
  printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)" >"$dir/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$PAUSE_IMAGE" >"$dir/manifest.json"
  tar -C "$dir" -cf "$dir/pause.tar" manifest.json config.json layer.tar
  ctr -a "$1" -n k8s.io images import "$dir/pause.tar" >/dev/null
}

configure() { # the kubelet, the mirror and the pod
  local socket=$1
  mkdir -p "$dir/containerd/certs.d/${image%%/*}" "$dir/pods" "$dir/root"
  printf 'server = "https://%s"\n[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "${image%%/*}" "$registry" \
    >"$dir/containerd/certs.d/${image%%/*}/hosts.toml"
  cat >"$dir/config.yaml" <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: $dir/pods
podLogsDir: $dir/logs
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
enforceNodeAllocatable: []
address: 127.0.0.1
port: 0
readOnlyPort: 6092
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
fileCheckFrequency: 2s
evictionHard: {memory.available: "50Mi"}
resolvConf: ""
T
  if [ -n "${NIXREG_POD:-}" ]; then
    echo "$NIXREG_POD" >"$dir/pods/pod.yaml"
    return
  fi
  cat >"$dir/pods/pod.yaml" <<T
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: default}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers: [{name: app, image: "$image", imagePullPolicy: Always}]
T
}

stop() {
  local c p
  [ -z "${kubelet:-}" ] || { kill "$kubelet" 2>/dev/null || true; wait "$kubelet" 2>/dev/null || true; }
  for c in $(ctr -a "$dir/containerd/containerd.sock" -n k8s.io tasks ls -q 2>/dev/null); do
    ctr -a "$dir/containerd/containerd.sock" -n k8s.io tasks rm -f "$c" >/dev/null 2>&1 || true
  done
  "$here/containerd.sh" stop "$dir/containerd" || true
  findmnt -rno TARGET | awk -v d="$dir/" 'index($0, d) == 1' | sort -r | xargs -r umount || true
  for p in /sys/fs/cgroup/*/kubepods; do find "$p" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  [ ! -s "$dir/sysctl" ] || sysctl -q -p "$dir/sysctl" || true # what the kubelet set
  rm -rf "$dir"
}

build_kubelet
trap stop EXIT
socket=$("$here/containerd.sh" start "$dir/containerd")
import_pause "$socket"
configure "$socket"
sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes \
  >"$dir/sysctl" 2>/dev/null || true
"$cache/kubelet" --config "$dir/config.yaml" --root-dir "$dir/root" --cert-dir "$dir/pki" --hostname-override node1 \
  --node-ip 127.0.0.1 >"$dir/kubelet.log" 2>&1 </dev/null &
kubelet=$!
state=
for ((i = 0; i < 240; i++)); do
  state=$(curl -s http://127.0.0.1:6092/pods | jq -c '.items[]? | .status | {phase, imageID: .containerStatuses[0].imageID, state: .containerStatuses[0].state}' || true)
  case $state in *Succeeded* | *Failed* | *ErrImagePull* | *ImagePullBackOff*) break ;; esac
  kill -0 "$kubelet" 2>/dev/null || break
  sleep 0.5
done
echo "$state"
cat "$dir"/logs/default_*/*/*.log 2>/dev/null || true
case $state in *Succeeded*) ;; *) tail -5 "$dir/kubelet.log" >&2; exit 1 ;; esac
