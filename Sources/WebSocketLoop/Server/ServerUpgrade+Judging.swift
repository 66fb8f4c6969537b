//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import WebSocketCore

// The request is judged, by the rules of HTTP and then by whoever decides.
extension ServerUpgrade {
    /// Looks at what has been read. `consume` is told how much of it all belongs to the request.
    func judge(consumed consume: ((Int) -> Void)?) {
        guard unsafe head.withUnsafeBytes({ unsafe progress.isWorthParsing($0) }) else {
            consume?(head.count)
            return
        }
        switch unsafe head.withUnsafeBytes({ unsafe HTTPRequestHeadParser.parse($0, limits: policy.limits) }) {
        case .incomplete: consume?(head.count)
        case .refused(let refusal):
            consume?(head.count)
            respond(HTTPAnswer(refusal))
        case .head(let parsed, let count):
            consume?(count)
            if count < head.count {
                if !usesTLS { behind = Array(head[count...]) }
                head.removeLast(head.count - count)
            }
            decide(parsed)
        }
    }

    func judge(_ consume: @escaping (Int) -> Void) { judge(consumed: consume) }

    func decide(_ parsed: HTTPRequestHead) {
        self.parsed = parsed
        let told: (isSecure: Bool?, host: String?)
        do throws(UpgradeRefusal) {
            told = try hearProxy(parsed.fields)
        } catch {
            return respond(HTTPAnswer(error))
        }
        if let refusal { return respond(HTTPAnswer(refusal)) }
        let head: HTTPRequestHead
        do throws(UpgradeRefusal) { head = try parsed.resolved() } catch { return respond(HTTPAnswer(error)) }
        isTargetRewritten = head.target != parsed.target
        self.parsed = head
        askedHost = told.host ?? head.fields[.hostField]
        let upgrade: Result<ValidatedUpgrade, UpgradeRefusal>
        do throws(UpgradeRefusal) {
            upgrade = .success(try ValidatedUpgrade(resolved: head))
        } catch {
            // Who tries to shake hands and does it wrongly is told so; other requests may be for somebody here.
            guard head.isPlainRequest else { return respond(HTTPAnswer(error)) }
            upgrade = .failure(error)
        }
        validated = upgrade
        let inquiry = UpgradeInquiry(
            head: head, upgrade: upgrade, localAddress: details.localAddress, remoteAddress: details.remoteAddress,
            isSecure: told.isSecure ?? preread?.isSecure ?? usesTLS,
            host: askedHost, tls: details.tls, clientCertificate: clientCertificate)
        stage = .deciding
        let stop = policy.decide(inquiry, UpgradeReply(upgrade: self))
        guard stage == .deciding, !isReplied else { return }
        stopDeciding = stop
        // A WebSocket client that sends no more is gone. Others may have sent all they have to say.
        if case .success = upgrade { watchForEnd() } else { poll?.stop() }
    }

    func watchForEnd() {
        let watched = duplicate >= 0 ? duplicate : descriptor
        if poll == nil {
            poll = DescriptorPoll(loop: loop, descriptor: watched) { [self] in vanished() }
        }
        poll?.start(.disconnected)
    }

    func vanished() {
        guard stage == .deciding else { return }
        loop.logger.debug("a client left before its request was answered", metadata: peerMetadata)
        drop(Self.gone)
    }

    func finishDeciding() {
        isReplied = true
        stopDeciding?()
        stopDeciding = nil
    }

    /// On the loop. The first decision counts.
    func decided(_ verdict: UpgradeVerdict) {
        guard stage == .deciding, !isReplied else { return }
        isReplied = true
        stopDeciding = nil
        switch verdict {
        case .respond(let answer): respond(answer)
        case .accept(let acceptance):
            do throws(UpgradeRefusal) {
                guard let parsed, let validated else { throw .internalError }
                accept(acceptance, try validated.get(), parsed)
            } catch {
                // Accepted what cannot be upgraded: it gets the answer that it would have got from nobody.
                respond(HTTPAnswer(error))
            }
        }
    }

    func accept(_ acceptance: UpgradeAcceptance, _ request: ValidatedUpgrade, _ parsed: HTTPRequestHead) {
        self.acceptance = acceptance
        self.request = request
        let options = acceptance.options ?? policy.options
        deflate = DeflateNegotiation.answer(offers: request.extensions, configured: options.compression)
        // The bytes are kept where they say what the request says, and are taken apart within the usual limit.
        if preread == nil, !isTargetRewritten, head.count <= HTTPRequestHeadParser.Limits().totalBytes {
            details.requestBytes = head
        } else {
            details.prereadRequest = parsed
        }
        head = []
        details.subprotocol = acceptance.subprotocol
        details.deflate = deflate?.agreed
        details.upgrade = acceptance.context
        stage = .letGo
        if usesTLS { letGo() } else { adoptPlain(request) }
    }
}

extension HTTPRequestHead {
    /// Whether this asks for no WebSocket, and is whole without a body.
    fileprivate var isPlainRequest: Bool {
        fields[.transferEncoding] == nil && (fields[.contentLength] ?? "0") == "0" && !attemptsWebSocket
    }
}
