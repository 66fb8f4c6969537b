//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What the connections of a loop share. Loop-confined.
@safe final class LoopResources {
    // Without the run-time check of exclusivity: one thread uses them, for each frame.
    @safe @exclusivity(unchecked) var maskKeys = MaskKeys()
    @safe @exclusivity(unchecked) var scratch = ScratchBuffer()
    @safe @exclusivity(unchecked) var frameMemory = FrameMemory()
    let turnWork = TurnWork()
    var crowd = CrowdWatch()
    let memory: LoopMemory
    /// zlib's streams between two messages, of connections that need one only as long as a message.
    let spareStreams = SpareStreams()
    var vhosts = VhostTable()
    var handshakePlaces = TLSHandshakePlaces()
    /// Those of servers' connections, once there are any.
    var handshakes: ServerHandshakes?
    /// Where names are looked up.
    var names = NameService.shared
    /// Whose socket libwebsockets is being given, until it shows the wsi it made for it.
    var adopting: WireOwner?
    /// What an SSL_CTX gets that libwebsockets is about to hand out, in a callback that names no vhost of ours.
    var fillTLSContext: ((OpaquePointer) -> Bool)?
    /// Where libwebsockets reads into, once a handshake has shown it.
    var serviceBuffer: UnsafeRawPointer?
    var serviceBufferSize = LibWebSockets.serviceBufferSize
    /// To which libwebsockets keeps pointers: 4.1.6 frees a vhost's memory some time after `lws_vhost_destroy`, without
    /// saying when, so that they stay as long as the loop.
    private var vhostTexts: [UnsafeMutableBufferPointer<CChar>] = unsafe []

    init(memoryBudget: WebSocketMemoryBudget) { memory = LoopMemory(memoryBudget) }

    /// A text with its zero byte, as long as this object.
    func keepForVhosts(_ text: String) -> UnsafePointer<CChar> {
        let bytes = text.utf8CString
        let memory = UnsafeMutableBufferPointer<CChar>.allocate(capacity: bytes.count)
        _ = unsafe memory.initialize(from: bytes)
        unsafe vhostTexts.append(memory)
        return unsafe UnsafePointer(memory.baseAddress!)
    }

    deinit { unsafe vhostTexts.forEach { unsafe $0.deallocate() } }
}

extension WebSocketEventLoop {
    @inline(__always)
    var maskKeys: MaskKeys {
        _read { yield resources.maskKeys }
        _modify { yield &resources.maskKeys }
    }
    @inline(__always)
    var scratch: ScratchBuffer {
        _read { yield resources.scratch }
        _modify { yield &resources.scratch }
    }
    @inline(__always)
    var frameMemory: FrameMemory {
        _read { yield resources.frameMemory }
        _modify { yield &resources.frameMemory }
    }
    @inline(__always)
    var turnWork: TurnWork { resources.turnWork }
    var vhosts: VhostTable {
        get { resources.vhosts }
        _modify { yield &resources.vhosts }
    }
    /// Where names are looked up.
    package var names: NameService {
        get { resources.names }
        set { resources.names = newValue }
    }
    /// Those of servers' connections, once there are any.
    var handshakes: ServerHandshakes? {
        get { resources.handshakes }
        set { resources.handshakes = newValue }
    }
    var adopting: WireOwner? {
        get { resources.adopting }
        set { resources.adopting = newValue }
    }
    var serviceBuffer: UnsafeRawPointer? {
        get { unsafe resources.serviceBuffer }
        set { unsafe resources.serviceBuffer = newValue }
    }
    var serviceBufferSize: Int {
        get { resources.serviceBufferSize }
        set { resources.serviceBufferSize = newValue }
    }
}
