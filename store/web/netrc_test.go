package web

import (
	"reflect"
	"testing"
)

func TestParseNetrc(t *testing.T) {
	const text = `# machine no login no password no
machine cache.example.org
	login me
	password s3cret#x
macdef init
	machine not.this login a password b

machine attic password only
machine quoted login "a b" password "c\"d\\e\tf"
machine none account x
default login anonymous password "guest"`
	want := []login{
		{"cache.example.org", "me", "s3cret#x"}, {"attic", "", "only"}, {"quoted", "a b", "c\"d\\e\tf"}, {"none", "", ""}, {"", "anonymous", "guest"},
	}
	got := parseNetrc(text)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, c := range []struct{ host, user, password string }{
		{"Cache.Example.org", "", "s3cret#x"}, {"cache.example.org", "me", "s3cret#x"}, {"attic", "", "only"}, {"none", "", "guest"}, {"other", "", "guest"},
		{"cache.example.org", "anonymous", "guest"}, {"cache.example.org", "her", ""},
	} {
		if l, _ := find(got, c.host, c.user); l.password != c.password {
			t.Errorf("%s of %s: %q", c.user, c.host, l)
		}
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c\ndefault password \"x\\")
	f.Add("macdef x\n\nmachine a")
	f.Add("password x login y \"\" machine")
	f.Fuzz(func(t *testing.T, s string) {
		for _, l := range parseNetrc(s) {
			if len(l.host)+len(l.user)+len(l.password) > len(s) {
				t.Errorf("%q", l)
			}
		}
	})
}
