package dockertools

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

const confText = `{"architecture":"amd64","config":{"Cmd":["/bin/x"]},"os":"linux","store_dir":"/nix/store","from_image":null,
"store_layers":[["/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x-1"]],
"customisation_layer":"/nix/store/1123456789abcdfghijklmnpqrsvwxyz-x-customisation-layer","repo_tag":"x:latest",
"created":"1970-01-01T00:00:01+00:00","mtime":"2001-09-09T01:46:40+00:00","uid":"1000","gid":"0","uname":"root","gname":"root"}`

func TestParseConf(t *testing.T) {
	c, err := ParseConf([]byte(confText))
	if err != nil {
		t.Fatal(err)
	}
	if c.MTime != 1000000000 || c.Owner.UID != 1000 || c.Name != "x" || c.Tag != "latest" || len(c.StoreLayers) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestParseConfTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2024-02-29T10:34:56+00:00":     "2024-02-29T10:34:56+00:00",
		"2024-02-29T12:34:56Z":          "2024-02-29T12:34:56+00:00",
		"2024-02-29T12:34:56.789+02:00": "2024-02-29T12:34:56.789000+02:00",
		"now":                           DefaultTime,
	} {
		c, err := ParseConf([]byte(strings.Replace(confText, "1970-01-01T00:00:01+00:00", in, 1)))
		if err != nil || c.Created != want {
			t.Errorf("%s: %v, %v", in, c, err)
			continue
		}
		if (in == "now") != (len(c.Warnings) == 1) {
			t.Errorf("%s: warnings %q", in, c.Warnings)
		}
	}
}

// TestParseConfOfOldNixpkgs lacks what came later; created then served as mtime.
func TestParseConfOfOldNixpkgs(t *testing.T) {
	old := strings.Replace(confText, `,"mtime":"2001-09-09T01:46:40+00:00","uid":"1000","gid":"0","uname":"root","gname":"root"`, "", 1)
	old = strings.Replace(old, `"store_dir":"/nix/store","from_image":null,`, "", 1)
	c, err := ParseConf([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	if c.MTime != 1 || c.Owner.UID != 0 || c.Owner.Uname != "root" {
		t.Errorf("%+v", c)
	}
}

func TestParseConfRefuses(t *testing.T) {
	for _, c := range []struct {
		old, new string
		kind     error
	}{
		{`"amd64"`, `"../x"`, fs.ErrInvalid},
		{`"linux"`, `"darwin"`, errors.ErrUnsupported},
		{`"store_dir":"/nix/store"`, `"store_dir":"/gnu/store"`, errors.ErrUnsupported},
		{`/nix/store/0123`, `/etc/0123`, fs.ErrInvalid},
		{`-x-1"]`, `-x-1/../../../etc"]`, fs.ErrInvalid},
		{`[["/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x-1"]]`, `[[]]`, fs.ErrInvalid},
		{`"from_image":null`, `"from_image":"/home/base.tar"`, fs.ErrInvalid},
		{`"x:latest"`, `"latest"`, fs.ErrInvalid},
		{`"1970-01-01T00:00:01+00:00"`, `"yesterday"`, fs.ErrInvalid},
		{`"uid":"1000"`, `"uid":"-1"`, fs.ErrInvalid},
		{`"config":{"Cmd":["/bin/x"]}`, `"config":[]`, fs.ErrInvalid},
		{`{"architecture"`, `{{"architecture"`, fs.ErrInvalid},
	} {
		text := strings.Replace(confText, c.old, c.new, 1)
		if text == confText {
			t.Fatalf("%s is not in the text", c.old)
		}
		if _, err := ParseConf([]byte(text)); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.new, err)
		}
	}
}

func TestConfOfStream(t *testing.T) {
	const conf = "/nix/store/2fvazniiwxf0cwyiq5iv2dw2jxbkvh56-hello-conf.json"
	for _, script := range []string{
		"#! /bin/bash -e\nexec \"/nix/store/kfgnw06v6vkh1r0is9hszy7d5wm5p6kh-stream\"  " + conf + " \"$@\" \n",
		"#!/bin/sh\nexport A='b'\nexec -a \"$0\" \"/nix/store/kfgnw06v6vkh1r0is9hszy7d5wm5p6kh-stream\" '" + conf + "' \"$@\"",
	} {
		p, err := ConfFile([]byte(script))
		if err != nil || p.Abs() != conf {
			t.Errorf("%q: %s, %v", script, p, err)
		}
	}
	for _, script := range []string{"", "#!/bin/sh\necho " + conf, "#!/bin/sh\nexec /tmp/x-conf.json", "#!/bin/sh\nexec " + conf + "\nexec true"} {
		if p, err := ConfFile([]byte(script)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %s, %v", script, p, err)
		}
	}
}

func FuzzConf(f *testing.F) {
	f.Add([]byte(confText))
	f.Add([]byte(`{"store_layers":[],"config":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseConf(b); err == nil {
			c.Config.Indented()
		}
	})
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("#!/bin/sh\nexec a /nix/store/2fvazniiwxf0cwyiq5iv2dw2jxbkvh56-hello-conf.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ConfFile(b); err == nil && !strings.HasSuffix(string(p), "-conf.json") {
			t.Errorf("%q gives %s", b, p)
		}
	})
}
