package web

import (
	"regexp"
	"strings"
)

// login is a line of a netrc file. host is "" for its default.
type login struct{ host, user, password string }

// parseNetrc reads a netrc file. It has no errors: like curl, it skips what it does not understand.
//
// Source: curl, lib/netrc.c and the manual page netrc(5); quoted words as since curl 7.84.
func parseNetrc(s string) []login {
	var (
		all   []login
		key   string // whose value comes next
		macro bool   // in a macdef, which an empty line ends
	)
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		if macro {
			macro = strings.TrimSpace(line) != ""
			continue
		}
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, w := range words(line) {
			if key != "" {
				all = assign(all, key, w)
				key = ""
				continue
			}
			switch w = strings.ToLower(w); w {
			case "machine", "login", "password", "account":
				key = w
			case "default":
				all = append(all, login{})
			case "macdef":
				macro = true
			}
			if macro {
				break
			}
		}
	}
	return all
}

// assign adds the value of a key to the last machine.
func assign(all []login, key, value string) []login {
	switch {
	case key == "machine":
		return append(all, login{host: value})
	case len(all) == 0:
	case key == "login":
		all[len(all)-1].user = value
	case key == "password":
		all[len(all)-1].password = value
	}
	return all
}

// Words of a line. One in double quotes may have blanks, and \n, \r, \t, or any other byte after a \.
var (
	word    = regexp.MustCompile(`"((?:\\(?s:.)|[^"\\])*\\?)"?|[^ \t]+`)
	escaped = regexp.MustCompile(`\\(?s:.)`)
)

func words(line string) []string {
	all := word.FindAllString(line, -1)
	for i, w := range all {
		if quoted := word.FindStringSubmatch(w)[1]; w[0] == '"' {
			all[i] = escaped.ReplaceAllStringFunc(quoted, func(s string) string {
				return strings.NewReplacer("n", "\n", "r", "\r", "t", "\t").Replace(s[1:])
			})
		}
	}
	return all
}

// find returns the first line for a host, of this user if one is given.
func find(all []login, host, user string) (login, bool) {
	for _, l := range all {
		if (l.host == "" || strings.EqualFold(l.host, host)) && (user == "" || l.user == user) && (l.password != "" || l.user != "") {
			return l, true
		}
	}
	return login{}, false
}
