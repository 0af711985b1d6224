package cases

// list has every open case once. A case that is mended leaves it, together with the skip in its test.
var list = []Case{
	{"I1", "H", "a package with its programs in the output bin is served as the output out, without any program", "right images"},
	{"I2", "H", "a content with a directory tmp takes the mode 1777 from /tmp of root: [tmp]", "right images"},
	{"I3", "H", "Cmd, Entrypoint or Shell as text passes check, and runtimes refuse the image", "right images"},
	{"R1", "H", "credentials that the upstream, or its token server, refuses with 403 are never asked for again", "upstream registries"},
	{"R1b", "H", "a mirror's password-file is read once, at the start", "upstream registries"},
	{"R2", "H", "a registry that redirects to another one is 403 where that one asks for a token", "upstream registries"},
	{"R3", "M-H", "a mirror that is named in the path and by ns, as containerd does with override_path, is 404", "upstream registries"},
	{"R4", "M-H", "a tag is 404 for ever where the upstream answers 404 to HEAD and knows GET alone", "upstream registries"},
	{"R5", "M-H", "the token server of one repository is asked for all of a registry", "upstream registries"},
	{"R6", "M", "one organisation's 429 holds back the whole registry", "upstream registries"},
	{"R7", "M", "referrers are 502 where their fallback tag leads to an image", "upstream registries"},
	{"R9", "M-L", "a list of tags is lost where the link to its next page has another path or host", "upstream registries"},
}
