package imagefile

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/spell"
)

// setting describes a value of config, down to its leaves. null is allowed everywhere, as clients take it for no value.
type setting struct {
	kind kind
	want string // in messages
	// inner is the setting of the elements of a list, or of the values of an object with keys of the user's choice.
	inner *setting
	// fields are the only keys of an object.
	fields map[string]setting
	// text says what is wrong with a text, and key with a key of an object; "" if nothing is.
	text, key func(string) string
}

var (
	anyText  = setting{kind: text, want: "text"}
	number   = setting{kind: integer, want: "a whole number"}
	toggle   = setting{kind: boolean, want: "true or false"}
	nothing  = setting{kind: object, want: "{}"}
	words    = setting{kind: list, want: "a list of text", inner: &anyText}
	duration = setting{kind: integer, want: "a whole number of nanoseconds, such as 30000000000"}
)

// settings are the keys of config. Clients refuse an image if one has a value of another type, and runtimes refuse the values that a
// check refuses.
//
// Source: OCI image-spec 1.1, config.md; Docker's image specification 1.3; moby, api/types/container, Config; runc, libcontainer.
var settings = map[string]setting{
	"User":         anyText,
	"WorkingDir":   {kind: text, want: "text", text: absolute},
	"StopSignal":   {kind: text, want: "text", text: signal},
	"Env":          {kind: list, want: "a list of NAME=VALUE", inner: &setting{kind: text, want: "text", text: variable}},
	"OnBuild":      words,
	"Cmd":          words,
	"Entrypoint":   words,
	"Shell":        words,
	"Labels":       {kind: object, want: "an object", inner: &anyText},
	"ExposedPorts": {kind: object, want: "an object, such as {8080/tcp: {}}", inner: &nothing, key: port},
	"Volumes":      {kind: object, want: "an object, such as {/data: {}}", inner: &nothing, key: absolute},
	"Healthcheck": {kind: object, want: "an object", fields: map[string]setting{
		"Test": words, "Interval": duration, "Timeout": duration, "StartPeriod": duration, "StartInterval": duration, "Retries": number,
	}},
	"StopTimeout": {kind: integer, want: "a whole number of seconds"},
	"ArgsEscaped": toggle, "AttachStderr": toggle, "AttachStdin": toggle, "AttachStdout": toggle, "NetworkDisabled": toggle,
	"OpenStdin": toggle, "StdinOnce": toggle, "Tty": toggle,
	"Domainname": anyText, "Hostname": anyText, "Image": anyText, "MacAddress": anyText,
	"CpuShares": number, "Memory": number, "MemorySwap": number,
}

// configKeys are all keys of config that clients know.
var configKeys = slices.Sorted(maps.Keys(settings))

func absolute(s string) string {
	if s != "" && !strings.HasPrefix(s, "/") {
		return "want a path that begins with /"
	}
	return ""
}

// portKey matches the keys of ExposedPorts.
//
// Source: OCI image-spec 1.1, config.md, ExposedPorts; docker/go-connections, nat.ParsePortSpec, which takes a range.
var portKey = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?$`)

func port(s string) string {
	if !portKey.MatchString(s) {
		return "want a port, such as 8080/tcp"
	}
	return ""
}

func variable(s string) string {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return "want NAME=VALUE"
	}
	return ""
}

// signalName matches the signals of Linux, by name or number.
//
// Source: signal(7); moby/sys/signal, ParseSignal.
var signalName = regexp.MustCompile(`^([1-9]|[1-5][0-9]|6[0-4]|(?i:(SIG)?(ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|` +
	`SEGV|STKFLT|STOP|SYS|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)))$`)

func signal(s string) string {
	if s != "" && !signalName.MatchString(s) {
		return "want a signal, such as SIGTERM"
	}
	return ""
}

// otherNames map the words of Dockerfiles, Compose files and Kubernetes to keys of config. They are folded as in [spell.Near].
var otherNames = map[string]string{
	"args": "Cmd", "arguments": "Cmd", "command": "Cmd", "commands": "Cmd", "run": "Cmd", "exec": "Cmd", "program": "Cmd",
	"annotations": "Labels", "annotation": "Labels", "metadata": "Labels",
	"cwd": "WorkingDir", "directory": "WorkingDir", "dir": "WorkingDir", "workdir": "WorkingDir", "workingdirectory": "WorkingDir", "chdir": "WorkingDir",
	"environment": "Env", "envs": "Env", "variables": "Env", "envvars": "Env",
	"expose": "ExposedPorts", "exposed": "ExposedPorts", "port": "ExposedPorts", "ports": "ExposedPorts", "publish": "ExposedPorts",
	"healthchecks": "Healthcheck", "health": "Healthcheck", "livenessprobe": "Healthcheck",
	"mount": "Volumes", "mounts": "Volumes", "volumemounts": "Volumes",
	"stopgraceperiod": "StopTimeout", "runasuser": "User", "username": "User", "uid": "User",
}

// ConfigKey reports whether clients know a key of config. If they do not, meant is the known key that was probably meant, or "".
// Clients ignore unknown keys. Most of them use Go's JSON, which accepts a known key in another case.
func ConfigKey(key string) (known bool, meant string) {
	if slices.Contains(configKeys, key) {
		return true, ""
	}
	folded := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	if other := otherNames[folded]; other != "" {
		return false, other
	}
	if meant = spell.Near(key, slices.Values(configKeys)); meant == "" {
		meant = otherNames[spell.Near(key, slices.Values(slices.Sorted(maps.Keys(otherNames))))]
	}
	return false, meant
}

// canonical returns the key of config that equals key in another case, or key itself.
func canonical(key string) string {
	if i := slices.IndexFunc(configKeys, func(known string) bool { return strings.EqualFold(known, key) }); i >= 0 {
		return configKeys[i]
	}
	return key
}
