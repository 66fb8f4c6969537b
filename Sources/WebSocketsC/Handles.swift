//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Synchronization
import WebSockets

/// Objects by number. A number names a slot, what the slot held when it was given out (its generation) and the kind of
/// object: a stale or foreign number finds nothing.
final class HandleTable<Object: AnyObject & Sendable>: Sendable {
    private struct Slot {
        var generation: UInt64
        var object: Object?
    }
    private struct Slots {
        var all: [Slot] = []
        var free: [Int] = []
    }

    private let slots = Mutex(Slots())
    private let kind: UInt64

    // 4 bits of kind, 28 of generation, 32 of index. No kind is 0, so no handle is.
    private static var generations: UInt64 { 1 << 28 }

    init(kind: UInt64) { self.kind = kind }

    func insert(_ object: Object) -> UInt64 {
        slots.withLock { slots in
            let index: Int
            if let free = slots.free.popLast() {
                index = free
            } else {
                index = slots.all.count
                slots.all.append(Slot(generation: 0, object: nil))
            }
            slots.all[index].object = object
            return kind << 60 | slots.all[index].generation << 32 | UInt64(index)
        }
    }

    private func index(of id: UInt64, in slots: borrowing Slots) -> Int? {
        let index = Int(id & 0xFFFF_FFFF)
        guard id >> 60 == kind, index < slots.all.count,
            slots.all[index].generation == id >> 32 & (Self.generations - 1)
        else { return nil }
        return index
    }

    func object(_ id: UInt64) -> Object? {
        slots.withLock { slots in index(of: id, in: slots).flatMap { slots.all[$0].object } }
    }

    func remove(_ id: UInt64) -> Object? {
        slots.withLock { slots in
            guard let index = index(of: id, in: slots), let object = slots.all[index].object else { return nil }
            slots.all[index].object = nil
            slots.all[index].generation += 1
            // A slot that has used up its generations is not used again.
            if slots.all[index].generation < Self.generations { slots.free.append(index) }
            return object
        }
    }
}

/// All handles that were given out and not freed.
enum Handles {
    static let queues = HandleTable<CallbackQueue>(kind: 1)
    static let messages = HandleTable<MessageMemory>(kind: 2)
    static let connections = HandleTable<ConnectionBox>(kind: 3)
    static let pools = HandleTable<PoolBox>(kind: 4)
    static let sessions = HandleTable<SessionBox>(kind: 5)
    static let servers = HandleTable<ServerBox>(kind: 6)
    static let loops = HandleTable<LoopBox>(kind: 7)
    static let strings = HandleTable<CStrings>(kind: 8)
    static let topics = HandleTable<WebSocketTopics>(kind: 9)
}

extension HandleTable {
    /// The object, or the failure that says what is wrong with the handle.
    func find(_ id: UInt64, _ name: StaticString) throws(Failure) -> Object {
        if let object = object(id) { return object }
        guard id == 0 else { throw .freed(name) }
        throw Failure(WSX_INVALID_HANDLE, "the \(name) is zero; create one first")
    }
}

extension Failure {
    /// The handle names nothing, or another thread freed it while the call was under way.
    static func freed(_ name: StaticString) -> Self {
        Self(WSX_INVALID_HANDLE, "the \(name) was freed, or is of another kind")
    }
}
