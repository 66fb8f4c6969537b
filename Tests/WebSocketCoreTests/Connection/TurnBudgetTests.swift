//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct TurnBudgetTests {
    @Test func oneConnectionHasItsShareOfATurn() {
        var budget = TurnBudget()
        var share = TurnBudget.Share()
        #expect(budget.room(for: share) == TurnBudget.share)
        budget.spend(TurnBudget.share - 10, of: &share)
        #expect(budget.room(for: share) == 10 && budget.isLeft)
        let (tooMuch, rest) = (budget.spendWhole(11, of: &share), budget.spendWhole(10, of: &share))
        #expect(!tooMuch && rest)
        #expect(budget.room(for: share) == 0)
        budget.startTurn()
        #expect(budget.room(for: share) == TurnBudget.share)
    }

    /// Whatever the others do, a small message goes at once.
    @Test func aConnectionAlwaysHasALittle() {
        var budget = TurnBudget()
        var others = Array(repeating: TurnBudget.Share(), count: TurnBudget.total / TurnBudget.share)
        let areSpent = others.indices.map { budget.spendWhole(TurnBudget.share, of: &others[$0]) }
        #expect(areSpent.allSatisfy { $0 } && !budget.isLeft)
        var share = TurnBudget.Share()
        #expect(budget.room(for: share) == TurnBudget.always)
        let isSmall = budget.spendWhole(TurnBudget.always, of: &share)
        #expect(isSmall && budget.room(for: share) == 0)
        // What is nothing at all costs nothing.
        let isNothing = budget.spendWhole(0, of: &share)
        #expect(isNothing)
    }

    @Test func theMostOfAllTurnsIsKnown() {
        var budget = TurnBudget()
        var share = TurnBudget.Share()
        for cost in [5, 70, 6] {
            budget.startTurn()
            budget.spend(cost, of: &share)
        }
        #expect(budget.largestTurn == 70)
        budget.startTurn()
        budget.startTurn()
        #expect(budget.largestTurn == 70)
    }
}
