package cases

// list has every open case once. A case that is mended leaves it, together with the skip in its test.
var list = []Case{
	{"I1", "H", "a package with its programs in the output bin is served as the output out, without any program", "right images"},
	{"I2", "H", "a content with a directory tmp takes the mode 1777 from /tmp of root: [tmp]", "right images"},
	{"I3", "H", "Cmd, Entrypoint or Shell as text passes check, and runtimes refuse the image", "right images"},
	{"C1", "H", "a layer is cut, or its first manifest fails, when Nix links a file of it to an equal one", "stores and caches"},
	{"R1", "H", "credentials that the upstream, or its token server, refuses with 403 are never asked for again", "upstream registries"},
	{"R1b", "H", "a mirror's password-file is read once, at the start", "upstream registries"},
	{"R2", "H", "a registry that redirects to another one is 403 where that one asks for a token", "upstream registries"},
	{"R3", "M-H", "a mirror that is named in the path and by ns, as containerd does with override_path, is 404", "upstream registries"},
	{"R4", "M-H", "a tag is 404 for ever where the upstream answers 404 to HEAD and knows GET alone", "upstream registries"},
	{"R5", "M-H", "the token server of one repository is asked for all of a registry", "upstream registries"},
	{"R6", "M", "one organisation's 429 holds back the whole registry", "upstream registries"},
	{"R7", "M", "referrers are 502 where their fallback tag leads to an image", "upstream registries"},
	{"R9", "M-L", "a list of tags is lost where the link to its next page has another path or host", "upstream registries"},
	{"D2", "H", "clients that resolve by HEAD print \"not found\", and nothing says how to see the reason", "today's clients"},
	{"N1", "H", "a name of a cache without a trusted key is unknown, and the log has a warning for each path", "the first day"},
	{"N2", "H", "nothing lists the names, and the hint at the start is always hello", "the first day"},
	{"N3", "H", "podman needs --tls-verify=false, and no page says so", "the first day"},
	{"N4", "H", "no page says what a client of another machine needs", "the first day"},
	{"N5", "H", "there is no binary, image, flake or module to install", "installing"},
}
