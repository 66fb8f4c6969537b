//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The negotiation of permessage-deflate's four parameters (RFC 7692 §7.1), without I/O.
package enum DeflateNegotiation {
    package static let extensionName = "permessage-deflate"

    /// What a client offers: one extension, or a list of two of which the server takes one (RFC 7692 §5.1).
    package static func offer(_ deflate: WebSocketCompression.Deflate) -> String {
        var text = extensionName
        if deflate.serverNoContextTakeover { text += "; server_no_context_takeover" }
        if deflate.clientNoContextTakeover { text += "; client_no_context_takeover" }
        if deflate.serverMaxWindowBits != 15 { text += "; server_max_window_bits=\(deflate.serverMaxWindowBits)" }
        guard deflate.offersClientMaxWindowBits else { return text }
        let window =
            deflate.clientMaxWindowBits == 15
            ? "; client_max_window_bits" : "; client_max_window_bits=\(deflate.clientMaxWindowBits)"
        return deflate.offersFallback ? "\(text)\(window), \(text)" : text + window
    }

    package struct Refusal: Error, Equatable {
        package let reason: String
    }

    /// Reads a server's answer to `offer` (RFC 7692 §7.1): `nil` when it declined. An answer to the fallback is one to
    /// the first offer, too: they differ in what a server may add only.
    package static func accept(
        answer: String?, offered: WebSocketCompression
    ) throws(Refusal) -> WebSocketNegotiatedDeflate? {
        guard let answer else { return nil }
        guard let extensions = ExtensionOffer.parse(answer) else {
            throw Refusal(reason: "the Sec-WebSocket-Extensions header is malformed")
        }
        guard let first = extensions.first else { return nil }
        guard extensions.count == 1, first.name == extensionName, case .deflate(let deflate) = offered else {
            throw Refusal(reason: "the server chose an extension that was not offered")
        }
        var agreed = WebSocketNegotiatedDeflate()
        var seen: Set<String> = []
        for parameter in first.parameters {
            guard seen.insert(parameter.name).inserted else {
                throw Refusal(reason: "permessage-deflate repeats \(parameter.name)")
            }
            switch (parameter.name, parameter.value) {
            case ("server_no_context_takeover", nil): agreed.serverNoContextTakeover = true
            case ("client_no_context_takeover", nil): agreed.clientNoContextTakeover = true
            case ("server_max_window_bits", let value?):
                guard let bits = windowBits(value), bits <= deflate.serverMaxWindowBits else {
                    throw Refusal(reason: "the server's server_max_window_bits does not fit the offer")
                }
                agreed.serverMaxWindowBits = bits
            case ("client_max_window_bits", let value?):
                guard deflate.offersClientMaxWindowBits else {
                    throw Refusal(reason: "the server chose client_max_window_bits, which was not offered")
                }
                guard let bits = windowBits(value), bits <= deflate.clientMaxWindowBits else {
                    throw Refusal(reason: "the server's client_max_window_bits does not fit the offer")
                }
                agreed.clientMaxWindowBits = bits
            default:
                throw Refusal(reason: "permessage-deflate has a parameter that RFC 7692 does not allow here")
            }
        }
        if deflate.serverNoContextTakeover && !agreed.serverNoContextTakeover {
            throw Refusal(reason: "the server ignored server_no_context_takeover")
        }
        if deflate.serverMaxWindowBits < 15 && !seen.contains("server_max_window_bits") {
            throw Refusal(reason: "the server ignored server_max_window_bits")
        }
        // Ours to honour whether or not the server repeats it.
        if deflate.clientNoContextTakeover { agreed.clientNoContextTakeover = true }
        if agreed.clientMaxWindowBits > deflate.clientMaxWindowBits {
            agreed.clientMaxWindowBits = deflate.clientMaxWindowBits
        }
        return agreed
    }

    package struct Answer: Equatable {
        package let agreed: WebSocketNegotiatedDeflate
        /// What goes behind `permessage-deflate` in the response, beginning with `;`, or nothing.
        package let parameterText: String
    }

    /// Chooses the first of a client's offers that can be met; `nil` declines all of them
    /// (RFC 7692 §5: an offer with an unknown or invalid parameter is passed over).
    package static func answer(offers header: String?, configured: WebSocketCompression) -> Answer? {
        guard case .deflate(let deflate) = configured, let header, let offers = ExtensionOffer.parse(header) else {
            return nil
        }
        for offer in offers where offer.name == extensionName {
            if let answer = answer(offer, deflate) { return answer }
        }
        return nil
    }

    private static func answer(_ offer: ExtensionOffer, _ deflate: WebSocketCompression.Deflate) -> Answer? {
        var agreed = WebSocketNegotiatedDeflate(
            serverNoContextTakeover: deflate.serverNoContextTakeover,
            clientNoContextTakeover: deflate.clientNoContextTakeover,
            serverMaxWindowBits: deflate.serverMaxWindowBits)
        var seen: Set<String> = []
        var serverWindowOffered = false
        var clientWindowOffered = false
        for parameter in offer.parameters {
            guard seen.insert(parameter.name).inserted else { return nil }
            switch (parameter.name, parameter.value) {
            case ("server_no_context_takeover", nil): agreed.serverNoContextTakeover = true
            case ("client_no_context_takeover", nil): agreed.clientNoContextTakeover = true
            case ("server_max_window_bits", let value?):
                guard let bits = windowBits(value) else { return nil }
                serverWindowOffered = true
                agreed.serverMaxWindowBits = min(agreed.serverMaxWindowBits, bits)
            case ("client_max_window_bits", let value):
                clientWindowOffered = true
                guard let value else { break }
                guard let bits = windowBits(value) else { return nil }
                agreed.clientMaxWindowBits = bits
            default: return nil
            }
        }
        // Only a client that offered the parameter may be told a window (RFC 7692 §7.1.2.2).
        if clientWindowOffered {
            agreed.clientMaxWindowBits = min(agreed.clientMaxWindowBits, deflate.clientMaxWindowBits)
        } else if deflate.clientMaxWindowBits < 15 {
            return nil
        }
        // An offered server window is accepted by repeating it, also when it limits nothing (RFC 7692 §7.1.2.1).
        let text = agreed.parameterText(
            serverWindow: serverWindowOffered || agreed.serverMaxWindowBits != 15,
            clientWindow: clientWindowOffered && agreed.clientMaxWindowBits != 15)
        return Answer(agreed: agreed, parameterText: text)
    }

    /// 8 to 15, without sign or leading zero.
    private static func windowBits(_ text: String) -> Int? {
        guard text.utf8.count <= 2, !text.hasPrefix("0"), text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
            let bits = Int(text), (8...15).contains(bits)
        else { return nil }
        return bits
    }
}
