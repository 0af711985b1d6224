package conformance_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// vectorDefinitions is where the definitions of the vectors are.
const vectorDefinitions = "testdata/definitions"

// A scene is a server and the references that it is asked for.
type scene struct {
	name    string
	options options
	groups  []group
}

// A group of references is known by its name to a table.
type group struct {
	name   string
	older  bool // the table is the older one
	refs   []string
	absent []string // there must be no such images
}

func refs(text string) []string { return strings.Fields(text) }

// scenes are all that the vectors are of. Groups of one name in the older table are asked for at this server, too: it is one
// table with two judges.
func scenes(t *testing.T) []scene {
	t.Helper()
	in := newVectorInputs(t)
	all := in.nixpkgsScenes(t)
	for i := range all {
		all[i].options.Env = append(slices.Clone(all[i].options.Env), "NIXREG_LAYERING=nixpkgs")
	}
	return append(all,
		scene{"demo shared", demo, []group{{name: "demo-shared", refs: refs("hello:latest greeting/hello:latest store/xfs6l4pg39ksgx9qi4za8x8mrcz4mhzb:latest")}}},
		scene{"all shared", in.options(t, "--root", "passwd,tmp"), []group{{name: "shared", refs: refs(`app:latest odd:3.14 env:latest app/odd:latest multi:latest
			multi:1.0 multi:1.0-dev deep:latest chained119:latest shell/lib:latest`)}}},
	)
}

// nixpkgsScenes are those in the order of nixpkgs' layers: by package name, images are those of format 1.
func (in *vectorInputs) nixpkgsScenes(t *testing.T) []scene {
	t.Helper()
	return []scene{
		{"demo", demo, []group{
			{name: "demo", older: true, refs: refs("hello:latest hello:1.0 greeting:latest nixreg-logo:latest greeting/hello:latest")},
			{name: "demo-names", refs: refs(`store/xfs6l4pg39ksgx9qi4za8x8mrcz4mhzb:latest greeting/nixreg-logo/hello:latest
				hello:sha256-4dc5aa56e192f38b0c1e34455e085476de77dada13ee4c2473f4cea355d984d6`),
				absent: refs("hello:2.0 greeting/hello:1.0 store/xfs6l4pg39ksgx9qi4za8x8mrcz4mhzb:1.0 nothing:latest")},
		}},
		{"demo gzip", demo.with("--layer-encoding", "gzip"), []group{{name: "gzip", older: true, refs: refs("hello:latest")}}},
		{"demo zstd", demo.with("--layer-encoding", "zstd"), []group{{name: "zstd", older: true, refs: refs("hello:latest")}}},
		{"demo arm64", demo.with("--arch", "arm64"), []group{{name: "demo-arm64", refs: refs("hello:latest greeting:latest greeting/hello:latest")}}},
		{"channel", named(t, localServer(t, tinyChannel(t)), serveTiny(t).URL), []group{
			{name: "channel", refs: append(refs("app:latest app:nixos-test someset.oddpackage:latest odd:3.14 app/odd:latest"), appImage+":latest")},
		}},
		{"all", in.options(t), in.groups()},
		{"all gzip", in.options(t, "--layer-encoding", "gzip"), encodedGroups("all-gzip")},
		{"all zstd", in.options(t, "--layer-encoding", "zstd"), encodedGroups("all-zstd")},
		{"root", in.options(t, "--root", "passwd,tmp,certificates,binSh,usrBinEnv"), []group{
			{name: "root", refs: refs("app:latest multi:1.0 bash:latest coreutils:latest bash/coreutils/nss-cacert:latest shell/lib:latest")},
		}},
	}
}

// groups are those of everything in one server, with layers as they are.
func (in *vectorInputs) groups() []group {
	return []group{
		{name: "tiny", older: true, refs: refs("app:latest odd:3.14 lib:latest env:latest app/odd:latest")},
		{name: "conf", older: true, refs: refs("t1:latest t2:latest t3:latest t4:latest t5:latest")},
		{name: "definition", older: true, refs: refs("one:latest few:latest links:latest closure:latest pair:latest")},
		{name: "names", refs: append(refs(`app:1.2.3 env:1.0 empty:0 multi:latest multi:1.0 multi:1.0-dev multi:1.1 gtk_extra:2.24.1_git
			deep:latest chained119:latest shell:latest shell/lib:latest app/lib/odd:latest multi/lib:latest bash:latest sdl2:latest`),
			"app:"+hash(tinyApp), appImage+":latest", "store/"+hash(tinyOdd)+":latest", "multi:"+hash(in.arm64), "store/"+hash(in.arm64)+":latest"),
			absent: refs("multi:1 multi:dev deep/lib:1.0 shell:5.2 gtk+extra:latest")},
		{name: "conf-base", refs: refs("from:latest from:v7 script:latest script:v7 stored-script:latest team/stream-app:latest")},
		{name: "argument", refs: argumentRefs, absent: refs("args/tags:latest args/scalar:1.2.3 Args/Upper-Case:latest")},
		{name: "archive", refs: refs(`archive/plain:v1 archive/plain:latest archive/plain-gz:v1 archive/plain-zst:v1 archive/gzipped:v1 archive/gzipped-zst:v1
			archive/nameless:latest archive/members:v1 archive/zstd:v1 archive/empty:v1 archive/repeated:v1 archive/none:v1
			archive/several:v1 archive/several:v2 archive/several:v3 archive/several:w1 archive/several:x1 stored-archive:v1`),
			absent: refs("archive/several:latest archive/plain:v2 archive/plain.tar:v1")},
		{name: "layout", refs: refs(`layout/only:latest layout/named:v1 layout/named:v2 layout/named:v3 layout/named:v4 layout/named:v5 layout/named:v6
			layout/platforms:latest layout/attested:latest stored-layout:latest`), absent: refs("layout/named:latest layout/only:v1")},
	}
}

// encodedGroups are of each kind a few, in another encoding.
func encodedGroups(name string) []group {
	return []group{{name: name, refs: refs(`app:latest multi:1.0 deep:latest app/lib/odd:latest t1:latest from:latest few:latest pair:latest
		args/base-gzip:latest args/base-registry:latest args/root:latest args/nixdb:latest args/links:latest archive/plain:v1 archive/plain-gz:v1
		archive/gzipped:v1 archive/zstd:v1 layout/only:latest layout/named:v4`)}}
}

// argumentRefs are the definitions of arguments.yaml.
var argumentRefs = refs(`args/scalar:latest args/list:latest args/attribute:latest args/nothing:latest args/tag:v2.0 args/tag:latest args/tags:a args/tags:b
	args/upper-case:latest args/config:latest args/mentioned:latest args/architecture:latest args/variant:latest args/created:latest args/mtime:latest args/now:latest
	args/uid:latest args/gid:latest args/uname:latest args/gname:latest args/max-layers:latest args/popularity:latest args/auto:latest args/links:latest
	args/nixdb:latest args/nixdb-mentioned:latest args/no-effect:latest args/root:latest args/passwd:latest args/tmp:latest args/certificates:latest
	args/bin-sh:latest args/usr-bin-env:latest args/root-nixdb:latest args/platforms:latest args/json:latest
	args/base-plain:latest args/base-gzip:latest args/base-zstd:latest args/base-layout:latest args/base-stored:latest args/base-stored-layout:latest
	args/base-registry:latest args/base-arm:latest args/base-env:latest args/base-max-layers:latest`)

// vectorInputs are what servers of the vectors are given: caches, a directory of images, and a registry with base images.
type vectorInputs struct {
	caches   []string // URLs
	images   string
	registry *upstream
	arm64    string // a store path
}

func newVectorInputs(t *testing.T) *vectorInputs {
	t.Helper()
	dir := t.TempDir()
	in := &vectorInputs{images: filepath.Join(dir, "images"), registry: gate(t, localServer(t, readPullCase(t, "index-oci-arm")))}
	f := in.forge(t)
	forged := filepath.Join(dir, "forged")
	if err := os.CopyFS(forged, f.files); err != nil {
		t.Fatal(err)
	}
	in.caches = []string{"file://" + absolute(t, tinyCache), "file://" + forged}
	finishedImages(t, in.images, filepath.Join(dir, "bases"))
	if err := os.CopyFS(in.images, os.DirFS(vectorDefinitions)); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"t1": "av38h4lm1gp32sk3vpss68g2ickkg344-app-conf.json", "t2": "c1x9x40as6726xzm3br0blc3c9nn8fhm-app-conf.json",
		"t3": "gcwc0rljqy48y6sdb38ij3rlgisy5x2j-app-conf.json", "t4": "ql2hj60553b4f62xy5lcn229d4xvsqrj-app-conf.json",
		"t5": "ndvw6qpcmbdd1cazfcpfgm58vq3pwxhn-env-conf.json",
	} {
		in.link(t, name, "/nix/store/"+target)
	}
	in.link(t, "from.json", forgedPath("from-conf.json"))
	in.link(t, "stored-script", forgedPath("stream-app"))
	in.link(t, "stored-archive.tar", forgedPath("docker-image-base.tar"))
	in.link(t, "stored-layout", forgedPath("oci-layout"))
	writeInto(t, in.images, "script", []byte(streamScript(forgedPath("from-conf.json"))))
	writeInto(t, in.images, "team/stream-app", []byte(streamScript("/nix/store/ql2hj60553b4f62xy5lcn229d4xvsqrj-app-conf.json")))
	return in
}

func (in *vectorInputs) link(t *testing.T, name, target string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(in.images, name)); err != nil {
		t.Fatal(err)
	}
}

// streamScript is the program that nixpkgs' streamLayeredImage builds.
func streamScript(conf string) string {
	return fmt.Sprintf("#! /bin/bash -e\nexec \"/nix/store/kfgnw06v6vkh1r0is9hszy7d5wm5p6kh-stream\"  %s \"$@\" \n", conf)
}

// options are those of a server of everything.
func (in *vectorInputs) options(t *testing.T, args ...string) options {
	t.Helper()
	o := caches(t, in.caches...).with(newForge().options().Args...)
	return o.with("--images", in.images, "--mirror", "registry.example="+in.registry.URL).with(args...)
}

// forge makes what the tiny cache has not: programs for two architectures, what parts of a root link to, names that are no
// names of repositories, names that are long, a file of more than one block of each encoding, more paths than an image has
// layers, and finished images.
func (in *vectorInputs) forge(t *testing.T) *forge {
	t.Helper()
	f := newForge()
	add := func(path string, nar []byte, references ...string) string {
		f.add(forged{Path: path, NAR: nar, References: slices.Sorted(slices.Values(references))})
		return path
	}
	amd64, arm64 := narProgram(elf(62)), narProgram(elf(183))
	library := add(forgedPath("gtk+extra-2.24.1+git"), narDir(narEntry{"lib", narTree(narEntry{"libgtk.so", narFile("gtk")})}))
	add(forgedPath("bash-5.2"), narDir(narEntry{"bin", narTree(narEntry{"bash", amd64}, narEntry{"sh", narLink("bash")})}))
	add(forgedPath("coreutils-9.5"), narDir(narEntry{"bin", narTree(narEntry{"env", amd64}, narEntry{"ls", narLink("env")})}))
	add(forgedPath("nss-cacert-3.98"), narDir(narEntry{"etc", narTree(narEntry{"ssl", narTree(narEntry{"certs", narTree(narEntry{"ca-bundle.crt", narFile("certificates\n")})})})}))
	add(seededPath("multi amd64", "multi-1.0"), narDir(narEntry{"bin", narTree(narEntry{"multi", amd64})}), library)
	in.arm64 = add(seededPath("multi arm64", "multi-1.0"), narDir(narEntry{"bin", narTree(narEntry{"multi", arm64})}))
	add(forgedPath("multi-1.1"), narDir(narEntry{"bin", narTree(narEntry{"multi", amd64})}), library)
	add(forgedPath("multi-1.0-dev"), narDir(narEntry{"include", narTree(narEntry{"multi.h", narFile("int multi;\n")})}))
	add(forgedPath("SDL2-2.30.0"), narDir(narEntry{"lib", narTree(narEntry{"sdl.so", narFile("sdl")})}))
	add(forgedPath("deep-1.0"), narDir(narEntry{strings.Repeat("d", 200), narTree(narEntry{strings.Repeat("é", 100), narFile("deep")},
		narEntry{"ü", narLink("/" + strings.Repeat("target/", 40))})}, narEntry{"large", narFile(strings.Repeat("0123456789abcdef", 300_000))}))
	in.forgeImages(t, add)
	f.chain("chained", 120, 64)
	return f
}

// forgeImages adds images that are store paths.
func (in *vectorInputs) forgeImages(t *testing.T, add func(path string, nar []byte, references ...string) string) {
	t.Helper()
	whole := func(content []byte) []byte { return []byte(narStrings("nix-archive-1") + narFile(string(content))) }
	base := add(forgedPath("docker-image-base.tar"), whole(archiveOf(t, "plain-docker=team/plain:v1")))
	add(forgedPath("oci-layout"), layouts(t)["only"].nar())
	layer, _ := readPullCase(t, "plain-docker").find("blobs", readPullCase(t, "plain-docker").firstLayer(t))
	custom := add(forgedPath("from-customisation-layer"), narDir(
		narEntry{"checksum", narFile(strings.TrimPrefix(sha256Of(layer), "sha256:") + "\n")}, narEntry{"layer.tar", narFile(string(layer))}))
	conf := fmt.Sprintf(`{"architecture":"arm","variant":"v7","config":{"Env":["A=1"],"User":"1000"},"os":"linux","store_dir":"/nix/store","from_image":%q,
		"store_layers":[[%q],[%q,%q]],"customisation_layer":%q,"repo_tag":"team/from:v7","created":"2024-02-29T12:34:56+00:00","mtime":"2001-09-09T01:46:40+00:00",
		"uid":"1000","gid":"100","uname":"user","gname":"group"}`, base, tinyLeaf, tinyOdd, in.arm64, custom)
	path := add(forgedPath("from-conf.json"), whole([]byte(conf)), base, custom, tinyLeaf, tinyOdd, in.arm64)
	add(forgedPath("stream-app"), []byte(narStrings("nix-archive-1")+narProgram(streamScript(path))), path)
}

// firstLayer is the digest of a case's first layer.
func (c *pullCase) firstLayer(t *testing.T) string {
	t.Helper()
	data, _ := c.document(t, dockerManifest, "")
	return decoded[document](t, data).Layers[0].Digest
}

// seededPath is a store path whose hash part is made of a text.
func seededPath(text, name string) string {
	return "/nix/store/" + nix32(sha256.Sum256([]byte(text)))[:32] + "-" + name
}

// narProgram is the node of a file that can be run.
func narProgram(content string) string {
	return narStrings("(", "type", "regular", "executable", "", "contents", content, ")")
}

// elf is the head of a program for a machine: 62 is amd64, 183 arm64.
//
// Source: System V ABI, chapter 4, "ELF Header".
func elf(machine byte) string {
	return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + string([]byte{machine, 0}) + strings.Repeat("\x00", 44)
}
