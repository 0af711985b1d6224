package cases

// list has every open case once. A case that is mended leaves it, together with the skip in its test.
var list = []Case{
	{"R1", "H", "credentials that the upstream, or its token server, refuses with 403 are never asked for again", "upstream registries"},
	{"R1b", "H", "a mirror's password-file is read once, at the start", "upstream registries"},
	{"R2", "H", "a registry that redirects to another one is 403 where that one asks for a token", "upstream registries"},
	{"R3", "M-H", "a mirror that is named in the path and by ns, as containerd does with override_path, is 404", "upstream registries"},
	{"R4", "M-H", "a tag is 404 for ever where the upstream answers 404 to HEAD and knows GET alone", "upstream registries"},
	{"R5", "M-H", "the token server of one repository is asked for all of a registry", "upstream registries"},
	{"R6", "M", "one organisation's 429 holds back the whole registry", "upstream registries"},
	{"R8", "M", "a full disk makes images 404, as if they were not there", "upstream registries"},
	{"R9", "M-L", "a list of tags is lost where the link to its next page has another path or host", "upstream registries"},
	{"D2", "H", "clients that resolve by HEAD print \"not found\", and nothing says how to see the reason", "today's clients"},
	{"D3", "M", "a Range of several parts is answered with the whole blob", "today's clients"},
	{"S6", "M", "a web page reads the whole store of a laptop under a host name of its own", "attacks"},
	{"N5", "H", "there is no binary, image, flake or module to install", "installing"},
}
