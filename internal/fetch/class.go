package fetch

import "net/netip"

// class is what kind of network an address belongs to.
type class uint32

const (
	public class = iota
	loopback
	private // RFC 1918, and fc00::/7
	linkLocal
	shared   // carrier-grade NAT
	metadata // where a cloud's machines get their keys, whatever network that is in
	special  // everything else that is no address of a host on the internet
)

func (c class) String() string {
	return [...]string{"public", "loopback", "private", "link-local", "carrier-grade NAT", "cloud metadata", "special-purpose"}[c]
}

// specials are ranges that [netip.Addr] has no method for.
//
// Source: IANA IPv4 and IPv6 special-purpose address registries.
var specials = [...]struct {
	prefix netip.Prefix
	class  class
}{
	{netip.MustParsePrefix("100.64.0.0/10"), shared},
	{netip.MustParsePrefix("0.0.0.0/8"), special},
	{netip.MustParsePrefix("192.0.0.0/24"), special},
	{netip.MustParsePrefix("192.0.2.0/24"), special},
	{netip.MustParsePrefix("198.18.0.0/15"), special},
	{netip.MustParsePrefix("198.51.100.0/24"), special},
	{netip.MustParsePrefix("203.0.113.0/24"), special},
	{netip.MustParsePrefix("240.0.0.0/4"), special},
	{netip.MustParsePrefix("::/96"), special}, // IPv4-compatible, deprecated
	{netip.MustParsePrefix("64:ff9b:1::/48"), special},
	{netip.MustParsePrefix("100::/64"), special},
	{netip.MustParsePrefix("2001::/32"), special}, // Teredo: holds addresses that cannot be judged
	{netip.MustParsePrefix("2001:db8::/32"), special},
	{netip.MustParsePrefix("3fff::/20"), special},
	{netip.MustParsePrefix("fec0::/10"), private}, // site-local, deprecated
}

// clouds are the addresses of metadata services.
//
// Source: the providers' manuals, of instance metadata and of credentials for containers.
var clouds = map[netip.Addr]bool{
	netip.MustParseAddr("169.254.169.254"): true, // nearly all
	netip.MustParseAddr("fd00:ec2::254"):   true, // Amazon EC2
	netip.MustParseAddr("169.254.170.2"):   true, // Amazon ECS
	netip.MustParseAddr("169.254.170.23"):  true, // Amazon EKS
	netip.MustParseAddr("fd00:ec2::23"):    true,
	netip.MustParseAddr("168.63.129.16"):   true, // Azure
	netip.MustParseAddr("fd20:ce::254"):    true, // Google
	netip.MustParseAddr("100.100.100.200"): true, // Alibaba
	netip.MustParseAddr("169.254.0.23"):    true, // Tencent
	netip.MustParseAddr("192.0.0.192"):     true, // Oracle
	netip.MustParseAddr("169.254.42.42"):   true, // Scaleway
	netip.MustParseAddr("fd00:42::42"):     true,
	netip.MustParseAddr("fe80::a9fe:a9fe"): true, // OpenStack
}

// Translations of IPv4 addresses: what counts is the address within.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

func classOf(a netip.Addr) class {
	a = a.Unmap().WithZone("")
	b := a.As16()
	switch {
	case !a.IsValid():
		return special
	case nat64.Contains(a):
		a = netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		a = netip.AddrFrom4([4]byte(b[2:6]))
	}
	switch {
	case clouds[a]:
		return metadata
	case a.IsLoopback():
		return loopback
	case a.IsPrivate():
		return private
	case a.IsLinkLocalUnicast():
		return linkLocal
	case a.IsMulticast(), a.IsUnspecified():
		return special
	}
	for _, s := range specials {
		if s.prefix.Contains(a) {
			return s.class
		}
	}
	return public
}
