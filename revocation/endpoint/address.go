// Where a request comes from.

package endpoint

import (
	"net/http"
	"net/netip"
)

// remoteAddr is the connection's remote address, invalid when it has none.
func remoteAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}

// limitedAddress is what counts as one address: a single one of IPv4, and of IPv6
// the /64 that every subscriber has.
func limitedAddress(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // of an invalid address, the invalid Prefix
	return prefix
}
