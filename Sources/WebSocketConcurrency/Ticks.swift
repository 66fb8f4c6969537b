//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// An instant or a span in nanoseconds. Instants count from when their clock was made.
///
/// Machines count in these instead of a clock's own instants: they stay free of a generic parameter that the hot path
/// would pay for, and their states can be written down in a test.
@usableFromInline package typealias Ticks = Int64

extension Ticks {
    /// Later than every instant that is ever reached.
    @inlinable
    package static var never: Ticks { .max }

    /// This instant, `span` later; `never` when either is.
    @inlinable
    package func after(_ span: Ticks) -> Ticks {
        let (sum, overflow) = addingReportingOverflow(span)
        return overflow ? .never : sum
    }
}

extension Duration {
    /// Whole nanoseconds, at least 0, saturating at `never`.
    package var ticks: Ticks {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .never : product.after(attoseconds / 1_000_000_000)
    }

    /// The nanoseconds of a duration that is a whole number of them and not negative, as every difference of the
    /// continuous clock's readings is.
    ///
    /// An exact division by 10⁹ = 2⁹ × 5⁹: a shift, and a multiplication by the inverse of 5⁹ modulo 2⁶⁴. Dividing
    /// 128 bits in general takes longer than reading the clock.
    @inlinable
    package var wholeNanoseconds: Ticks {
        let inverse: UInt64 = 0x8E47_CE42_3A2E_9C6D
        return Ticks(bitPattern: UInt64(truncatingIfNeeded: attoseconds >> 9) &* inverse)
    }
}
