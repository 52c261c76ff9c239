# Reads network_data.json as lines of json.awk and prints what a guest has to configure by itself, a line each:
# "MAC address ADDRESS/BITS", "MAC route NETWORK/BITS GATEWAY", "- resolver ADDRESS". Nothing if it has nothing to.

{ tab = index($0, "\t"); value[substr($0, 1, tab - 1)] = substr($0, tab + 1) }

END {
    for (i = 0; ("links." i ".id") in value; i++) mac[value["links." i ".id"]] = value["links." i ".ethernet_mac_address"]
    for (i = 0; ("networks." i ".type") in value; i++)
        if (value["networks." i ".type"] ~ /^ipv[46]$/) print_network("networks." i ".", mac[value["networks." i ".link"]])
    if (found)
        for (i = 0; ("services." i ".address") in value; i++) print "- resolver " value["services." i ".address"]
}

function print_network(path, owner,    i, route) {
    found = 1
    print owner " address " value[path "ip_address"] "/" bits(value[path "netmask"])
    for (i = 0; (path "routes." i ".network") in value; i++) {
        route = path "routes." i "."
        print owner " route " value[route "network"] "/" bits(value[route "netmask"]) " " value[route "gateway"]
    }
}

# The length of a netmask: ones of each octet, or of each hexadecimal digit.
function bits(mask,    count, i, octets, n) {
    count = 0
    if (mask !~ /:/) {
        n = split(mask, octets, ".")
        for (i = 1; i <= n; i++) while (octets[i] > 0) { count++; octets[i] = octets[i] * 2 % 256 }
        return count
    }
    for (i = 1; i <= length(mask); i++) count += index("8ce", substr(mask, i, 1)) + 4 * (substr(mask, i, 1) == "f")
    return count
}
