import Drift

/// Two candidates over the same positions: how much of the other's drift the first one has.
enum VersusPart {
  static func html(_ versus: DriftReport.Versus?) -> Markup {
    guard let versus else { return "" }
    let ratios = [
      ratio("mean KL", versus.kl), ratio("mean KL without the worst 0.1 %", versus.klTrimmed),
      ratio("KL, 99th percentile", versus.klP99),
      ratio("expert sets changed", versus.routingChanged, PageNumber.percent),
    ].compactMap(\.self)
    let differences = [
      difference("same top token", versus.top1Agreement),
      difference("same decision along the reference’s path", versus.sameDecision),
    ].compactMap(\.self)
    let table = PageTable(
      columns: ["", "candidate", "the other", "ratio", "difference"], rows: ratios + geometric(versus) + differences,
      caption: "Beside another candidate")
    return """
      <p>The other is <code>\(versus.model.path)</code> <span class="hash">\(versus.model.hash)</span>. Both were compared with \
      the reference at the same \(PageNumber.count(versus.positions)) positions, so what makes a text hard for both cancels. A ratio \
      below 1 says that the candidate drifts less; it is no accident of these texts where its interval lies below 1, too.</p>
      \(table.html)\(texts(versus.klGeometric))
      """
  }

  private static func ratio(
    _ name: String, _ number: DriftReport.PairedRatio?, _ write: (Double) -> String = PageNumber.nats
  ) -> [PageTable.Cell]? {
    number.map {
      [
        .text(name), .number($0.candidate, write), .number($0.versus, write),
        .estimate($0.estimate, PageNumber.ratio), .text(""),
      ]
    }
  }

  private static func difference(_ name: String, _ number: DriftReport.PairedDifference?) -> [PageTable.Cell]? {
    number.map {
      [
        .text(name), .percent($0.candidate), .percent($0.versus), .text(""),
        .estimate($0.estimate, PageNumber.signedPercent),
      ]
    }
  }

  private static func geometric(_ versus: DriftReport.Versus) -> [[PageTable.Cell]] {
    versus.klGeometric.map {
      [
        [
          .text("KL, geometric mean over texts"), .text(""), .text(""), .estimate($0.estimate, PageNumber.ratio),
          .text(""),
        ]
      ]
    } ?? []
  }

  private static func texts(_ ratio: DriftReport.GeometricRatio?) -> Markup {
    guard let ratio else { return "" }
    return
      "<p>The candidate drifts less at \(PageNumber.count(ratio.smaller)) of \(PageNumber.count(ratio.texts)) texts.</p>\n"
  }
}
