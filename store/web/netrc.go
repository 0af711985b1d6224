package web

import "strings"

// login is a line of a netrc file. host is "" for its default.
type login struct{ host, user, password string }

// parseNetrc reads a netrc file. It has no errors: what is not understood is passed over, as curl does.
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
		for w := range words(line) {
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

// assign adds the value of a key, which is of the last machine.
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

// words yields the words of a line. One in double quotes may have blanks, and \n, \r, \t, or any other byte after a \.
func words(line string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			line = strings.TrimLeft(line, " \t")
			if line == "" {
				return
			}
			var w string
			if line[0] == '"' {
				w, line = quoted(line[1:])
			} else {
				end := strings.IndexAny(line, " \t")
				if end < 0 {
					end = len(line)
				}
				w, line = line[:end], line[end:]
			}
			if !yield(w) {
				return
			}
		}
	}
}

func quoted(s string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			i++
			c := s[i]
			if at := strings.IndexByte("nrt", c); at >= 0 {
				c = "\n\r\t"[at]
			}
			b.WriteByte(c)
		}
	}
	return b.String(), ""
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
