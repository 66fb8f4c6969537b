//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore

/// The first byte says which header counts and what else the proxies tell. Then come lines: `f` and the value of
/// `Forwarded`, `a`, `p`, `h` and that of `X-Forwarded-For`, `-Proto` and `-Host`.
func fuzzForwarded(_ bytes: UnsafeRawBufferPointer) -> String? {
    let kind = bytes.first ?? 0
    var trust = ForwardingTrust()
    trust.header = kind & 1 != 0 ? .forwarded : .xForwardedFor
    (trust.tellsHost, trust.tellsScheme) = (kind & 2 != 0, kind & 4 != 0)
    trust.ranges = AddressRange("10.0.0.0/8").map { [$0] } ?? []
    let names: [UInt8: String] = [
        UInt8(ascii: "f"): "Forwarded", UInt8(ascii: "a"): "X-Forwarded-For", UInt8(ascii: "p"): "X-Forwarded-Proto",
        UInt8(ascii: "h"): "X-Forwarded-Host",
    ]
    var fields = HTTPFields()
    for line in bytes.dropFirst().split(separator: UInt8(ascii: "\n")) {
        guard let first = line.first, let name = names[first].flatMap({ HTTPField.Name($0) }) else { continue }
        fields.append(HTTPField(name: name, value: String(decoding: line.dropFirst(), as: UTF8.self)))
    }
    let read = Result { () throws(ForwardedClient.Malformed) in try ForwardedClient(fields, trust: trust) }

    // Whatever the other header says, it says nothing.
    var other = fields
    let others =
        trust.header == .forwarded ? ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"] : ["Forwarded"]
    for name in others { other[HTTPField.Name(name)!] = nil }
    let alone = Result { () throws(ForwardedClient.Malformed) in try ForwardedClient(other, trust: trust) }
    guard read == alone else { return "the other header counts" }

    guard case .success(let client?) = read else { return nil }
    if let address = client.address, AddressBytes(address) == nil { return "'\(address)' is no address" }
    if let port = client.port, !(0...65_535).contains(port) { return "the port is \(port)" }
    if client.host != nil && !trust.tellsHost { return "a host is believed" }
    if client.isSecure != nil && !trust.tellsScheme { return "a scheme is believed" }
    if let host = client.host, host.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F }) {
        return "the host is '\(host)'"
    }

    // What a client writes in front of what its proxy has written changes nothing.
    guard let address = client.address, !trust.trusts(address) else { return nil }
    var lied = fields
    let name = HTTPField.Name(trust.header == .forwarded ? "Forwarded" : "X-Forwarded-For")!
    let lie = trust.header == .forwarded ? "for=203.0.113.66;host=evil;proto=https" : "203.0.113.66"
    lied[name] = "\(lie), \(fields[name] ?? "")"
    let again = Result { () throws(ForwardedClient.Malformed) in try ForwardedClient(lied, trust: trust) }
    return again == .success(client) ? nil : "a client's own words count"
}
