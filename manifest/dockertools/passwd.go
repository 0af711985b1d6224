package dockertools

import (
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
)

const (
	// firstUser is the number of a User that the config gives a name alone.
	firstUser = 1000
	// maxUser is the largest number that runtimes take.
	maxUser = 1<<31 - 1
)

// accounts are the users and groups that are there in any case.
var accounts = map[string]int64{"root": 0, "nobody": 65534}

// accountName is what shadow's tools take for the name of a user.
var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// account is a user or group of a config's User.
type account struct {
	name  string
	id    int64
	known bool // it is one of accounts
}

// FakeNSS returns the files of nixpkgs' fakeNss, with a line for the User of a config. A User that is none gives an error
// matching [fs.ErrInvalid]. With home, the user has the directory of [Home].
//
// Source: nixpkgs pkgs/by-name/fa/fakeNss/package.nix.
func FakeNSS(configUser document.Value, home bool) ([]layer.Entry, error) {
	user, group, err := accountsOf(configUser)
	if err != nil {
		return nil, err
	}
	rootHome, userHome := "/var/empty", "/"
	if home && user.name == "root" {
		rootHome = "/root"
	} else if home {
		userHome = "/" + homeOf(user)
	}
	userLine, groupLine := "", ""
	if !user.known {
		userLine = fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", user.name, user.id, group.id, userHome)
	}
	if !group.known {
		groupLine = fmt.Sprintf("%s:x:%d:\n", group.name, group.id)
	}
	return []layer.Entry{
		{Name: "etc/passwd", Mode: 0o644, Data: "root:x:0:0:root user:" + rootHome + ":/bin/sh\n" + userLine +
			"nobody:x:65534:65534:nobody:/var/empty:/bin/sh\n"},
		{Name: "etc/group", Mode: 0o644, Data: "root:x:0:\n" + groupLine + "nobody:x:65534:\n"},
		{Name: "etc/nsswitch.conf", Mode: 0o644, Data: "hosts: files dns\n"},
		{Name: "var/empty/", Mode: 0o555},
	}, nil
}

// Home returns the home directory of the User of a config, which belongs to that user. A User that is none, or that has no home, gives
// an error matching [fs.ErrInvalid].
func Home(configUser document.Value) (layer.Entry, error) {
	user, group, err := accountsOf(configUser)
	if err == nil && user.known && user.name != "root" {
		err = fmt.Errorf("config's User is %s, who has no home: %w", user.name, fs.ErrInvalid)
	}
	return layer.Entry{Name: homeOf(user) + "/", Mode: 0o700, UID: user.id, GID: group.id}, err
}

func homeOf(user account) string {
	if user.name == "root" {
		return "root"
	}
	return "home/" + user.name
}

// accountsOf reads the config's User: a name or a number, and those of a group after a colon. A group that is not given is
// the user's own.
//
// Source: OCI image-spec 1.1, config.md, User.
func accountsOf(v document.Value) (user, group account, err error) {
	text, ok := v.AsString()
	switch {
	case v.Kind == 0 || v.Text == "null" || ok && text == "":
		text = "root"
	case !ok:
		return user, group, fmt.Errorf("config's User is not a string: %w", fs.ErrInvalid)
	}
	u, g, hasGroup := strings.Cut(text, ":")
	if user, err = parseAccount(u, account{"user", firstUser, false}); err != nil {
		return user, group, fmt.Errorf("config's User %.100q: %w", text, err)
	}
	own := user
	if user.known {
		own = account{"user", firstUser, false} // what a group with a new name gets
	}
	if !hasGroup {
		return user, user, nil
	}
	if group, err = parseAccount(g, own); err != nil {
		return user, group, fmt.Errorf("config's User %.100q: %w", text, err)
	}
	return user, group, nil
}

// parseAccount reads a name or a number; what is missing is otherwise's.
func parseAccount(s string, otherwise account) (account, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || n > maxUser {
			return account{}, fmt.Errorf("number is not between 0 and %d: %w", maxUser, fs.ErrInvalid)
		}
		for name, id := range accounts {
			if n == id {
				return account{name, id, true}, nil
			}
		}
		return account{otherwise.name, n, false}, nil
	}
	if !accountName.MatchString(s) {
		return account{}, fmt.Errorf("neither a number nor the name of a user: %w", fs.ErrInvalid)
	}
	if id, ok := accounts[s]; ok {
		return account{s, id, true}, nil
	}
	return account{s, otherwise.id, false}, nil
}
