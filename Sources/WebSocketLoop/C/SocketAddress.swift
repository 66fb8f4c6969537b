//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the socket headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc

// Between the system's addresses and ours.
extension WebSocketAddress {
    init?(storage: UnsafePointer<sockaddr>, length storageLength: Int = MemoryLayout<sockaddr_storage>.size) {
        switch unsafe Int32(storage.pointee.sa_family) {
        case AF_INET:
            // What `getnameinfo` would say, without its price for every connection.
            let socket = unsafe UnsafeRawPointer(storage).load(as: sockaddr_in.self)
            var address = socket.sin_addr
            let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET_ADDRSTRLEN)) { text in
                unsafe inet_ntop(AF_INET, &address, text.baseAddress, socklen_t(text.count)).map {
                    unsafe String(cString: $0)
                }
            }
            guard let text else { return nil }
            self = .ip(address: text, port: Int(UInt16(bigEndian: socket.sin_port)))
        case AF_INET6:
            var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
            guard
                unsafe getnameinfo(
                    storage, socklen_t(MemoryLayout<sockaddr_in6>.size), &host, socklen_t(host.count), &service,
                    socklen_t(service.count),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0
            else { return nil }
            self = .ip(address: Self.unmapped(Self.string(host)), port: Int(Self.string(service)) ?? 0)
        case AF_UNIX:
            let bytes = unsafe UnsafeRawBufferPointer(start: storage, count: storageLength)
                .dropFirst(MemoryLayout<sa_family_t>.size)
            if unsafe bytes.first == 0 {
                let name = unsafe bytes.dropFirst()
                self = unsafe .unix(path: name.isEmpty ? "" : "@" + String(decoding: name, as: UTF8.self))
            } else {
                self = unsafe .unix(path: String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))
            }
        default: return nil
        }
    }

    private static func string(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The usual spelling of an IP address, which the system's own calls use.
    static func normalized(_ address: String) -> String {
        let family = address.contains(":") ? AF_INET6 : AF_INET
        var bytes = in6_addr()
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard unsafe inet_pton(family, address, &bytes) == 1,
            unsafe inet_ntop(family, &bytes, &text, socklen_t(text.count)) != nil
        else { return address }
        return unmapped(string(text))
    }

    /// An IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2) is an IPv4 address.
    private static func unmapped(_ address: String) -> String {
        address.hasPrefix("::ffff:") && address.contains(".") ? String(address.dropFirst(7)) : address
    }

    static func local(of descriptor: CInt) -> WebSocketAddress? { unsafe ask(getsockname, descriptor) }
    static func remote(of descriptor: CInt) -> WebSocketAddress? { unsafe ask(getpeername, descriptor) }

    private static func ask(
        _ function: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt, _ descriptor: CInt
    ) -> WebSocketAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutablePointer(to: &storage) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe function(descriptor, address, &length) == 0
                    ? WebSocketAddress(storage: address, length: Int(length)) : nil
            }
        }
    }
}
