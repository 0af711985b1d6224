package manifest_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nixreg/nixreg/manifest"
	"github.com/nixreg/nixreg/manifest/digests"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/store"
	"github.com/nixreg/nixreg/store/storetest"
)

// withRoot is a store of what the parts of a root lead to.
func withRoot() *storetest.Memory {
	m, _, _ := withHello()
	bash := m.Add("bash-5.2", storetest.Files{"bin/bash": elf(machineAMD64), "bin/sh": storetest.Link("bash")})
	m.Add("dash-0.5", storetest.Files{"bin/bash": elf(machineAMD64)})
	m.Add("coreutils-9.5", storetest.Files{"bin/env": elf(machineAMD64)})
	m.Add("cacert-3.1", storetest.Files{"etc/ssl/certs/ca-bundle.crt": storetest.File("certificates")})
	m.Add("wrapper-1", storetest.Files{"bin/wrapper": storetest.Exec("#!" + bash.Abs() + "/bin/sh")}, bash)
	return m
}

// rootOf returns the digest of the layer below the links, its entries, and the image's config.
func rootOf(t *testing.T, src *manifest.Source, name string) (v1.Hash, []string, string) {
	t.Helper()
	doc, config := pull(t, src, name, "latest")
	if len(doc.Layers) < 2 {
		t.Fatalf("%s has %d layers", name, len(doc.Layers))
	}
	d := doc.Layers[len(doc.Layers)-2].Digest
	var b bytes.Buffer
	digest(t, src, name, d, &b)
	var entries []string
	tr := tar.NewReader(&b)
	for h, err := tr.Next(); !errors.Is(err, io.EOF); h, err = tr.Next() {
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, strings.TrimSpace(fmt.Sprintf("%s %o %s%s", h.Name, h.Mode, h.Linkname, data)))
	}
	return d, entries, string(config)
}

// TestRootParts pins the bytes of each part.
func TestRootParts(t *testing.T) {
	m := withRoot()
	for part, c := range map[string]struct{ contents, entries, digest string }{
		"tmp": {"hello", "./tmp/ 1777", "1c29b2227d84523628dc836a553b190e238682617b3d621b27a0bf07bb82c94e"},
		"passwd": {"hello", "./etc/ 755|./etc/group 644 root:x:0:\nnobody:x:65534:|" +
			"./etc/nsswitch.conf 644 hosts: files dns|" +
			"./etc/passwd 644 root:x:0:0:root user:/var/empty:/bin/sh\nnobody:x:65534:65534:nobody:/var/empty:/bin/sh|" +
			"./var/ 755|./var/empty/ 555", "34f190324ca6eec13ebf86fcffac7170cdb374232ff6d78a4045dad769101b28"},
		"certificates": {"cacert", "./etc/ 755|./etc/ssl/ 755|./etc/ssl/certs/ 755|" +
			"./etc/ssl/certs/ca-bundle.crt 777 CACERT/etc/ssl/certs/ca-bundle.crt|" +
			"./etc/ssl/certs/ca-certificates.crt 777 CACERT/etc/ssl/certs/ca-bundle.crt", "505ad29f2f07b0cd78a87e59e6973434996bac3905f3f9153c05e1b22e5a5233"},
		"binSh":      {"bash", "./bin/ 755|./bin/sh 777 BASH/bin/sh", "325bb7100957f17ad3152c71ee363d86f5b3fe6e9f48138a02e8de9a088bd2d1"},
		"usrBinEnv":  {"coreutils", "./usr/ 755|./usr/bin/ 755|./usr/bin/env 777 COREUTILS/bin/env", "2b702fde2f8ab1a35b8137693b4ec55c72fb49a2112c671834e62e1c603e687e"},
		"tmp, binSh": {"dash", "./bin/ 755|./bin/sh 777 DASH/bin/bash|./tmp/ 1777", "2fcb11e4386863232f94c71b66a111b447441fb29a50b40a867fa02d4eeafe3e"},
	} {
		src := define(t, m, "{name: x, contents: "+c.contents+", root: ["+part+"]}")
		d, entries, config := rootOf(t, src, "x")
		want := "./ 755|" + c.entries
		for e := range m.List(ctx) {
			name, _, _ := strings.Cut(e.Path.Name(), "-")
			want = strings.ReplaceAll(want, strings.ToUpper(name), e.Path.Abs())
		}
		if got := strings.Join(entries, "|"); got != want {
			t.Errorf("%s: entries are\n%s\nnot\n%s", part, got, want)
		}
		if d.Hex != c.digest {
			t.Errorf("%s: digest is %s, not %s", part, d.Hex, c.digest)
		}
		history := "root: " + strings.Join(strings.Split(strings.ReplaceAll(part, "tmp, binSh", "binSh, tmp"), ", "), ", ")
		if !strings.Contains(config, `"comment": "`+history+`"`) {
			t.Errorf("%s: config is %s", part, config)
		}
	}
}

// TestPasswdOfUser: the config's User is there by name and number.
func TestPasswdOfUser(t *testing.T) {
	m := withRoot()
	for user, c := range map[string]struct{ passwd, group string }{ // "" where nothing is added
		"": {}, "root": {}, "0": {}, "0:0": {}, "nobody:nobody": {}, "65534": {}, "nobody:root": {},
		"1000":       {"user:x:1000:1000::/:/bin/sh", "user:x:1000:"},
		"1000:100":   {"user:x:1000:100::/:/bin/sh", "user:x:100:"},
		"1000:0":     {"user:x:1000:0::/:/bin/sh", ""},
		"app":        {"app:x:1000:1000::/:/bin/sh", "app:x:1000:"},
		"app:web":    {"app:x:1000:1000::/:/bin/sh", "web:x:1000:"},
		"app:5":      {"app:x:1000:5::/:/bin/sh", "app:x:5:"},
		"77:web":     {"user:x:77:77::/:/bin/sh", "web:x:77:"},
		"root:web":   {"", "web:x:1000:"},
		"app:nobody": {"app:x:1000:65534::/:/bin/sh", ""},
	} {
		_, entries, _ := rootOf(t, define(t, m, fmt.Sprintf("{name: x, root: [passwd], config: {User: %q}}", user)), "x")
		all := strings.Join(entries, "\n")
		if c.passwd != "" {
			c.passwd += "\n"
		}
		if c.group != "" {
			c.group += "\n"
		}
		if !strings.Contains(all, "/bin/sh\n"+c.passwd+"nobody:x:65534:65534:") || !strings.Contains(all, "root:x:0:\n"+c.group+"nobody:x:65534:\n") {
			t.Errorf("%q: %s", user, all)
		}
	}
	for _, user := range []string{"a:b:c", "-1", "2147483648", "a b", "a\nb", "x:y z", ":5", "5:", "App"} {
		_, err := define(t, m, fmt.Sprintf("{name: x, root: [passwd], config: {User: %q}}", user)).Inspect(ctx, "x", "latest")
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "root: passwd: ") {
			t.Errorf("%q: %v", user, err)
		}
	}
}

// TestRootWithin: the links of a root lead into the image, and bring nothing into it.
func TestRootWithin(t *testing.T) {
	m := withRoot()
	for part, want := range map[string]string{
		"certificates": "add cacert to contents", "binSh": "add a shell, such as bash to contents", "usrBinEnv": "add coreutils to contents",
	} {
		_, err := define(t, m, "{name: x, contents: hello, root: ["+part+"]}").Inspect(ctx, "x", "latest")
		if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "root: "+part+": no store path of the image has") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", part, err)
		}
	}
	out := m.Add("out-1", storetest.Files{"bin/sh": elf(machineAMD64)})
	m.Add("stray-1", storetest.Files{"bin/sh": storetest.Link(out.Abs() + "/bin/sh")}) // not to what it refers to
	if _, err := define(t, m, "{name: x, contents: stray, root: [binSh]}").Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a link that leads out of the image: %v", err)
	}
	r := inspect(t, define(t, m, "{name: x, contents: wrapper, root: [binSh]}"), "x", "latest")
	if got := layersOf(r); got != "bash-5.2 wrapper-1 binSh wrapper-1" {
		t.Errorf("layers have %s", got)
	}
	for e := range m.List(ctx) {
		if strings.HasPrefix(e.Path.Name(), "bash") { // not in contents, but mentioned
			r := inspect(t, define(t, m, "{name: x, contents: hello, root: [binSh], config: {Env: [SHELL="+e.Path.Abs()+"/bin/sh]}}"), "x", "latest")
			if !strings.Contains(layersOf(r), "bash-5.2") {
				t.Errorf("layers have %s", layersOf(r))
			}
		}
	}
}

// TestRootPrefersContents: of several shells that of the first content is taken.
func TestRootPrefersContents(t *testing.T) {
	m := withRoot()
	ash := m.Add("ash-1", storetest.Files{"bin/sh": elf(machineAMD64)})
	for contents, want := range map[string]string{"ash, bash": "ash-1", "bash, ash": "bash-5.2", "wrapper, ash": "ash-1"} {
		_, entries, _ := rootOf(t, define(t, m, "{name: x, contents: ["+contents+"], root: [binSh]}"), "x")
		if got := entries[len(entries)-1]; !strings.HasSuffix(got, want+"/bin/sh") {
			t.Errorf("of %s it is %s, not that of %s (%s)", contents, got, want, ash)
		}
	}
}

// TestRootOfPackages: serve's root is in images by package name; what one of them cannot have it is without.
func TestRootOfPackages(t *testing.T) {
	m := withRoot()
	plain := get(t, newSource(t, "", m), "hello", "latest").Digest
	src, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, Cache: new(digests.Memory), Root: []imagefile.RootPart{imagefile.Certificates, imagefile.Tmp},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if get(t, src, "hello", "latest").Digest == plain {
		t.Error("the image of hello is as without a root")
	}
	r := inspect(t, src, "hello", "latest")
	if want := "lib-1.0 hello-2.12.1 tmp hello-2.12.1"; layersOf(r) != want || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "root: certificates is left out") {
		t.Errorf("layers have %s, warnings are %q", layersOf(r), r.Warnings)
	}
	turned, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, Cache: new(digests.Memory), Root: []imagefile.RootPart{imagefile.Tmp, imagefile.Certificates, imagefile.Tmp},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer turned.Close()
	if get(t, turned, "cacert", "latest").Digest != get(t, src, "cacert", "latest").Digest {
		t.Error("the order of the parts changes the image")
	}
	if r := inspect(t, src, "cacert", "latest"); layersOf(r) != "cacert-3.1 certificates+tmp cacert-3.1" || len(r.Warnings) != 0 {
		t.Errorf("layers have %s, warnings are %q", layersOf(r), r.Warnings)
	}
	if r := inspect(t, src, "hello/cacert", "latest"); !strings.Contains(layersOf(r), "certificates+tmp") {
		t.Errorf("of a composite layers have %s", layersOf(r))
	}
}

// onTop is what an image has of one name, as the last of its layers has it, with the bytes of a file: what takes a
// directory's place above it, too.
func onTop(t *testing.T, src *manifest.Source, repository, name string) (top tar.Header, data string) {
	t.Helper()
	doc, _ := pull(t, src, repository, "latest")
	for _, l := range doc.Layers {
		var b bytes.Buffer
		digest(t, src, repository, l.Digest, &b)
		tr := tar.NewReader(&b)
		for h, err := tr.Next(); !errors.Is(err, io.EOF); h, err = tr.Next() {
			if err != nil {
				t.Fatal(err)
			}
			entry := strings.Trim(strings.TrimPrefix(h.Name, "."), "/")
			if hidden := strings.HasPrefix(name, entry+"/") && h.Typeflag != tar.TypeDir; entry != name && !hidden {
				continue
			}
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			top, data = *h, string(b)
		}
	}
	return top, data
}

// TestTmpOfContents: a root with tmp gives a /tmp that everybody can write to, although a content has one, too. Where the
// content has a link of that name, that is refused or said.
func TestTmpOfContents(t *testing.T) {
	m, _, _ := withHello()
	m.Add("tmpdir-1", storetest.Files{"tmp": storetest.Dir(), "var/tmp": storetest.Dir(), "bin/tmpdir": elf(machineAMD64)})
	m.Add("full-1", storetest.Files{"tmp/.X11-unix/x": storetest.File("x"), "bin/full": elf(machineAMD64)})
	m.Add("linked-1", storetest.Files{"tmp": storetest.Link("var/tmp"), "var/tmp": storetest.Dir(), "bin/linked": elf(machineAMD64)})
	root, err := manifest.NewSource(manifest.Config{
		Stores: []store.Store{m}, Cache: new(digests.Memory), Root: []imagefile.RootPart{imagefile.Tmp},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, contents := range []string{"hello", "tmpdir", "full", "linked", "hello, tmpdir", "tmpdir, full", "full, hello"} {
		name := strings.ReplaceAll(contents, ", ", "/")
		for repository, src := range map[string]*manifest.Source{
			"x": define(t, m, "{name: x, root: [passwd, tmp], config: {User: web}, contents: ["+contents+"]}"), name: root,
		} {
			if contents == "linked" && isTold(src, repository, "tmp") {
				continue
			}
			if tmp, _ := onTop(t, src, repository, "tmp"); tmp.Mode != 0o1777 || tmp.Typeflag != tar.TypeDir {
				t.Errorf("%s of %s: /tmp has mode %o and type %q", repository, contents, tmp.Mode, tmp.Typeflag)
			}
		}
	}
}

// isTold reports whether an image is refused, or has a warning with a word.
func isTold(src *manifest.Source, repository, word string) bool {
	reports, err := src.Inspect(ctx, repository, "latest")
	if err != nil {
		return errors.Is(err, fs.ErrInvalid)
	}
	return strings.Contains(strings.Join(reports[0].Warnings, "\n"), word)
}

// TestPasswdOfContents: the config's User is in /etc/passwd and /etc/group although a content has files of these
// names; or check, or a warning, says which file hides it.
func TestPasswdOfContents(t *testing.T) {
	m, _, _ := withHello()
	m.Add("passwd-1", storetest.Files{"etc/passwd": storetest.File("root:x:0:0::/:/bin/sh\n")})
	m.Add("group-1", storetest.Files{"etc/group": storetest.File("root:x:0:\n")})
	m.Add("etc-1", storetest.Files{"etc": storetest.Link("share/etc"), "share/etc/passwd": storetest.File("root:x:0:0::/:/bin/sh\n")})
	for _, contents := range []string{"hello", "passwd", "passwd, hello", "hello, passwd", "group", "passwd, group", "etc"} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		write(t, file, "{name: x, contents: ["+contents+"], root: [passwd], config: {User: web}}")
		src := withImages(t, m, file)
		for _, name := range []string{"etc/passwd", "etc/group"} {
			err := check(m, file)
			if isTold(src, "x", name) || err != nil && strings.Contains(err.Error(), name) {
				continue
			}
			if top, data := onTop(t, src, "x", name); !strings.Contains(data, "\nweb:x:") {
				t.Errorf("%s: /%s is %c %s %q, and check is silent: %v", contents, name, top.Typeflag, top.Linkname, data, err)
			}
		}
	}
}

// TestHome: the user has a home of its own, which etc/passwd names.
func TestHome(t *testing.T) {
	m, _, _ := withHello()
	for user, want := range map[string]struct {
		dir  string
		uid  int
		gid  int
		line string
	}{
		"web":       {"home/web", 1000, 1000, "\nweb:x:1000:1000::/home/web:/bin/sh\n"},
		"1001:100":  {"home/user", 1001, 100, "\nuser:x:1001:100::/home/user:/bin/sh\n"},
		"3000000:5": {"home/user", 3000000, 5, "\nuser:x:3000000:5::/home/user:/bin/sh\n"}, // more than seven octal digits
		"root":      {"root", 0, 0, "root:x:0:0:root user:/root:/bin/sh\n"},
	} {
		src := define(t, m, "{name: x, contents: [hello], root: [passwd, home], config: {User: '"+user+"'}}")
		dir, _ := onTop(t, src, "x", want.dir)
		if dir.Mode != 0o700 || dir.Uid != want.uid || dir.Gid != want.gid || dir.Typeflag != tar.TypeDir {
			t.Errorf("%s: /%s has mode %o and belongs to %d:%d", user, want.dir, dir.Mode, dir.Uid, dir.Gid)
		}
		if _, passwd := onTop(t, src, "x", "etc/passwd"); !strings.Contains(passwd, want.line) {
			t.Errorf("%s: %q", user, passwd)
		}
	}
	if _, err := define(t, m, "{name: x, contents: [hello], root: [home], config: {User: nobody}}").Inspect(ctx, "x", "latest"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the home of nobody: %v", err)
	}
}

func TestOSRelease(t *testing.T) {
	m, _, _ := withHello()
	m.Add("own-1", storetest.Files{"etc/os-release": storetest.File("ID=own\n")})
	if _, text := onTop(t, define(t, m, "{name: x, contents: [hello], root: [osRelease]}"), "x", "etc/os-release"); !strings.Contains(text, "ID=nixos\n") {
		t.Errorf("%q", text)
	}
	if top, _ := onTop(t, define(t, m, "{name: x, contents: [own], root: [osRelease]}"), "x", "etc/os-release"); top.Typeflag != tar.TypeSymlink {
		t.Errorf("that of a content is hidden: %c", top.Typeflag)
	}
}

// TestAccountsOfContents: the accounts of a content stay, and those of the part passwd are added.
func TestAccountsOfContents(t *testing.T) {
	m, _, _ := withHello()
	m.Add("nss-1", storetest.Files{"etc/passwd": storetest.File("root:x:0:0::/:/bin/own\napp:x:5:5::/:/bin/own"), "etc/nsswitch.conf": storetest.File("hosts: own\n")})
	src := define(t, m, "{name: x, contents: [nss], root: [passwd], config: {User: web}}")
	const want = "root:x:0:0::/:/bin/own\napp:x:5:5::/:/bin/own\nweb:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534:nobody:/var/empty:/bin/sh\n"
	if _, text := onTop(t, src, "x", "etc/passwd"); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	if top, _ := onTop(t, src, "x", "etc/nsswitch.conf"); top.Typeflag != tar.TypeSymlink {
		t.Errorf("nsswitch.conf of a content is hidden: %c", top.Typeflag)
	}
	if top, _ := onTop(t, define(t, m, "{name: y, contents: [nss], root: [passwd], config: {User: app}}"), "y", "etc/group"); top.Typeflag != tar.TypeReg {
		t.Errorf("etc/group is %c", top.Typeflag)
	}
}
