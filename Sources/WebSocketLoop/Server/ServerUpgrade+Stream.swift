//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

// The socket is ready for something.
extension ServerUpgrade {
    func becameReady(hasLeft: Bool) {
        switch machine.awaits {
        case .nothing: break
        case .part(.proxyHeader):
            unsafe peek { bytes in
                let (taken, action) = unsafe machine.peeked(proxyHeader: bytes)
                if taken > 0 {
                    _ = unsafe withScratch { unsafe SocketIO.receive(descriptor, into: .init(rebasing: $0[..<taken])) }
                }
                carryOut(action)
                // What follows may have come with it.
                if taken > 0, isHandshaking { becameReady(hasLeft: hasLeft) }
            }
            leave(hasLeft)
        case .part(.clientHello):
            unsafe peek { bytes in carryOut(unsafe machine.peeked(clientHello: bytes)) }
            leave(hasLeft)
        case .part(.handshake): handshake()
        case .part(.request): read()
        case .departure: carryOut(machine.peerEnded())
        case .room: write()
        case .end:
            if go(on: unsafe withScratch { unsafe SocketIO.receive(descriptor, into: $0) }) != nil { settle() }
        }
    }

    /// What is only looked at hides the end of the stream behind it: nothing more will come.
    private func leave(_ hasLeft: Bool) {
        guard hasLeft, machine.awaits == .part(.proxyHeader) || machine.awaits == .part(.clientHello) else { return }
        carryOut(machine.peerEnded())
    }

    /// The stream is over.
    func lost() -> ServerUpgradeMachine.Action {
        guard case .part(let part) = machine.awaits, let error = tlsFailure(during: part) else {
            return machine.peerEnded()
        }
        return machine.abandoned(error)
    }

    /// `nil` when there is nothing more to do for now.
    func go(on result: StreamResult) -> Int? {
        switch result {
        case .done(let count): return count
        case .wants(let events):
            wanted = events
            settle()
        case .ended, .failed: carryOut(lost())
        }
        return nil
    }

    private func peek(_ body: (UnsafeRawBufferPointer) -> Void) {
        guard let count = go(on: unsafe withScratch { unsafe SocketIO.peek(descriptor, into: $0) }) else { return }
        unsafe body(UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count]))
    }

    func read() {
        while machine.awaits == .part(.request) {
            // Looked at first, so that only the request is taken of TLS: what follows it is libwebsockets' to read.
            let result = unsafe withScratch { memory in
                if let stream { return unsafe stream.peek(into: memory) }
                return unsafe SocketIO.receive(descriptor, into: memory)
            }
            guard let count = go(on: result) else { return }
            let bytes = unsafe UnsafeRawBufferPointer(rebasing: loop.scratch.memory[..<count])
            let (taken, action) = unsafe machine.received(bytes)
            if let stream {
                if taken > 0 { _ = unsafe withScratch { unsafe stream.read(into: .init(rebasing: $0[..<taken])) } }
            } else if taken < count {
                behind = unsafe Array(bytes[taken...])
            }
            carryOut(action)
            // One read of a plain socket in a turn; of TLS all that has been decrypted, because nothing tells of it.
            if stream == nil { return }
        }
    }

    func write() {
        while machine.awaits == .room, !unsent.isEmpty {
            let result = unsafe unsent.withUnsafeBytes { bytes in
                if let stream { return unsafe stream.write(bytes) }
                return unsafe SocketIO.send(descriptor, bytes)
            }
            guard let count = go(on: result) else { return }
            unsent.removeFirst(count)
        }
        guard machine.awaits == .room else { return }
        stream?.shutDown()
        SocketIO.shutDownSending(descriptor)
        carryOut(machine.wrote())
    }

    private func withScratch<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        unsafe body(UnsafeMutableRawBufferPointer(rebasing: loop.scratch.memory[..<ClientHello.maximumBytes]))
    }
}
