//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What runs inside Redis, because saving a message, numbering it and publishing it must be one step.
enum RedisScripts {
    /// KEYS: stream, meta, repeat, channel. ARGV: incarnation, new epoch, messages, age, meta's age, number, record, head
    /// of the envelope. Returns offset, epoch, and whether it was published before.
    ///
    /// The epoch has the incarnation of the server: one that comes back from an old dump, or a replica that was behind,
    /// would number messages again that have been numbered before.
    static let publish = """
        local known = redis.call('GET', KEYS[3])
        if known then
            local number, offset, epoch = string.match(known, '^(%d+) (%d+) (.*)$')
            if number == ARGV[6] then return {tonumber(offset), epoch, 1} end
            if tonumber(number) > tonumber(ARGV[6]) then return {0, epoch, 1} end
        end
        local meta = redis.call('HMGET', KEYS[2], 's', 'e', 'r')
        local offset, epoch = tonumber(meta[1] or 0), meta[2]
        if not epoch or (ARGV[1] ~= '' and meta[3] ~= ARGV[1]) then
            offset, epoch = 0, ARGV[2]
            redis.call('DEL', KEYS[1])
        end
        offset = offset + 1
        local text = string.format('%.0f', offset)
        redis.call('HSET', KEYS[2], 's', text, 'e', epoch, 'r', ARGV[1])
        redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], text .. '-0', 'd', ARGV[7])
        redis.call('EXPIRE', KEYS[1], ARGV[4])
        redis.call('EXPIRE', KEYS[2], ARGV[5])
        redis.call('SET', KEYS[3], ARGV[6] .. ' ' .. text .. ' ' .. epoch, 'EX', 300)
        redis.call('PUBLISH', KEYS[4],
            ARGV[8] .. struct.pack('>I8', offset) .. string.char(#epoch) .. epoch .. string.sub(ARGV[7], 2))
        return {offset, epoch, 0}
        """

    /// KEYS: stream, meta. ARGV: incarnation, new epoch, meta's age, epoch and offset that were asked for, messages at
    /// most. Returns the top's offset and epoch, and entries behind the offset. What does not exist begins with it, so
    /// that a subscriber has a position from its first day.
    static let read = """
        local meta = redis.call('HMGET', KEYS[2], 's', 'e', 'r')
        local offset, epoch = tonumber(meta[1] or 0), meta[2]
        if not epoch or (ARGV[1] ~= '' and meta[3] ~= ARGV[1]) then
            offset, epoch = 0, ARGV[2]
            redis.call('DEL', KEYS[1])
            redis.call('HSET', KEYS[2], 's', '0', 'e', epoch, 'r', ARGV[1])
        end
        redis.call('EXPIRE', KEYS[2], ARGV[3])
        local count = tonumber(ARGV[6])
        if count == 0 or ARGV[4] ~= epoch then return {offset, epoch, {}} end
        local first = string.format('%.0f', tonumber(ARGV[5]) + 1) .. '-0'
        return {offset, epoch, redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', count)}
        """
}
