# What the tests of --build-file and --build build, with builds-flake.nix beside it as flake.nix: Debian's binaries on the
# glibc of closure.nix. In this directory then lie the .deb files and versions of mkstore.sh, and a file "place" that names
# the directory in which builders say what they do.
{ system ? builtins.currentSystem }:
let
  closure = import ./closure.nix { debs = ./.; versions = ./versions.json; };
  inherit (closure) glibc hello;
  place = builtins.readFile ./place;
  mk = name: env: script: derivation ({
    inherit name system place; builder = "/bin/bash"; PATH = "/usr/bin:/bin"; LC_ALL = "C.UTF-8";
    args = [ "-euc" (script + "\nexit 0\n") ]; # bash must be the last to close stderr: see closure.nix
  } // env);
  # a program named like the last word of its package, which says what hello says
  greeter = name: program: before: mk name { inherit hello; } ''
    echo ${name} >> $place/begun
    ${before}
    mkdir -p $out/bin; cp $hello/bin/hello $out/bin/${program}
  '';
  onGlibc = "patchelf --set-interpreter $glibc/lib/ld-linux-x86-64.so.2 --set-rpath $out/lib:$glibc/lib";
in rec {
  greeting = greeter "greeting-1.5" "greeting" "";
  gnuPackages.Salute = greeter "salute-2.0" "salute" "";
  gated = greeter "gated-1.0" "gated" "read -r word < $place/gate";
  noisy = greeter "noisy-1.0" "noisy" "head -c 1000000 /dev/zero | tr '\\0' x | fold -w 99 >&2";
  # its programs are in the output bin, as those of curl are in nixpkgs
  split = mk "split-1.7" { inherit hello; outputs = [ "bin" "out" "man" ]; } ''
    echo split-1.7 >> $place/begun
    mkdir -p $bin/bin $out/share $man/share/man; cp $hello/bin/hello $bin/bin/split
  '' // { meta = { outputsToInstall = [ "bin" "man" ]; mainProgram = "split"; }; };
  fails = mk "fails-1.0" { } "echo fails >> $place/begun; for i in {1..2000}; do echo line $i of the builder >&2; done; echo 'no such header: gizmo.h' >&2; exit 3";
  # they tell their end by closing the pipe, and so does whatever they started
  hangs = mk "hangs-1.0" { } "exec 3> $place/pipe; echo here >&3; trap : TERM; sleep 100000 & sleep 100000; sleep 100000";
  waits = mk "waits-1.0" { } "exec 3> $place/pipe; echo here >&3; read -r word < $place/gate";
  moody = mk "moody-1.0" { inherit hello; } "mkdir -p $out/bin; cp $hello/bin/hello $out/bin/moody; cat /proc/sys/kernel/random/uuid > $out/mood";
  broken = throw "this attribute does not evaluate";

  bashInteractive = mk "bash-interactive-5.2" { inherit glibc; } ''
    mkdir -p $out/bin $out/lib; cp /bin/bash $out/bin/bash; cp -L /lib/x86_64-linux-gnu/libtinfo.so.6 $out/lib/
    ${onGlibc} $out/bin/bash
  '';
  coreutils = mk "coreutils-9.1" { inherit glibc; } ''
    mkdir -p $out/bin
    for p in cat env uname; do cp /usr/bin/$p $out/bin/; ${onGlibc} $out/bin/$p; done
  '';

  # what streamLayeredImage { name = "web"; tag = "v1"; contents = [ greeting ]; config.Cmd = [ "/bin/greeting" ]; } gives, with one layer a path
  images.web = mk "stream-web" { inherit conf; stream = mk "stream" { } "echo 'exit 1' > $out; chmod +x $out"; } ''
    printf '#! /bin/bash -e\nexec "%s"  %s "$@" \n' $stream $conf > $out; chmod +x $out
  '' // { imageName = "web"; imageTag = "v1"; };
  images.conf = conf;
  conf = mk "web-conf.json" { inherit greeting customisation; exportReferencesGraph = [ "graph" greeting ]; } ''
    layers=$(grep ^/nix/store/ graph | sort -u | sed 's/.*/["&"]/' | paste -sd,)
    printf '{"architecture": "amd64", "os": "linux", "store_dir": "/nix/store", "from_image": null, "config": {"Cmd": ["/bin/greeting"]},
      "store_layers": [%s], "customisation_layer": "%s", "repo_tag": "web:v1", "created": "1970-01-01T00:00:01+00:00",
      "mtime": "1970-01-01T00:00:01+00:00", "uid": "0", "gid": "0", "uname": "root", "gname": "root"}' "$layers" $customisation > $out
  '';
  customisation = mk "web-customisation-layer" { inherit greeting; } ''
    mkdir -p root/bin $out; ln -s $greeting/bin/greeting root/bin/greeting
    tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner -cf $out/layer.tar -C root .
    sha256sum $out/layer.tar | head -c 64 > $out/checksum
  '';
}
