import Text

/// One of the dozen numbers that tell most of a drift report, in words.
package struct Headline: Sendable, Equatable {
  package let label: String
  package let value: String
  /// What stands beside the number: its interval, a p value, the two numbers it compares.
  package let detail: String?
  /// The number as a multiple of the noise floor.
  package let floor: String?
  /// What it means, in a few words.
  package let meaning: String
  /// What it means, in a sentence.
  package let sentence: String

  /// The headlines that the report has, in the order of their weight.
  package static func all(of report: DriftReport) -> [Headline] {
    [
      divergence(report), typical(report), tail(report), agreement(report), probability(report), likelihood(report),
      routes(report), routeDamage(report), outputs(report), speed(report), tasks(report), weights(report),
    ].compactMap(\.self)
  }

  /// How the candidate stands beside the other one; empty where there is none.
  package static func versus(_ report: DriftReport) -> [Headline] {
    guard let versus = report.versus else { return [] }
    let ratios: [(String, Estimate?, String)] = [
      ("KL, mean", versus.kl?.estimate, "of the other's mean"),
      ("KL, geometric", versus.klGeometric?.estimate, "of the other's, text by text"),
      ("KL, without worst 0.1 %", versus.klTrimmed?.estimate, "of the other's"),
      ("KL, 99th percentile", versus.klP99?.estimate, "of the other's"),
      ("expert sets changed", versus.routingChanged?.estimate, "of the other's share"),
    ]
    let differences: [(String, Estimate?, String)] = [
      ("same top token", versus.top1Agreement?.estimate, "more than the other"),
      ("same decision", versus.sameDecision?.estimate, "more than the other, step by step"),
    ]
    func headline(
      _ number: (String, Estimate?, String), _ value: (Double) -> String, _ interval: (Estimate) -> String?
    ) -> Headline? {
      number.1.map {
        Headline(
          label: number.0, value: value($0.mean), detail: interval($0), floor: nil, meaning: number.2,
          sentence: "Paired over the same positions; the interval draws whole texts.")
      }
    }
    return ratios.compactMap { headline($0, Wording.ratio) { Wording.interval($0, Wording.ratio) } }
      + differences.compactMap {
        headline($0, Wording.signedPercent) { Wording.interval($0, Wording.signedPercent) }
      }
  }

  // MARK: What the models predict

  private static func divergence(_ report: DriftReport) -> Headline? {
    guard let kl = report.masked?.kl?.estimate else { return nil }
    return Headline(
      label: "KL, mean", value: Wording.nats(kl.mean), detail: Wording.interval(kl),
      floor: report.floor?.klRatio.map(Wording.times), meaning: "nats off at a \(report.scoredKind) position",
      sentence:
        "KL divergence: how far the candidate’s predictions are from the reference’s at a \(report.scoredKind) position, in nats; 0 is the same."
    )
  }

  private static func typical(_ report: DriftReport) -> Headline? {
    guard let value = report.masked?.robust?.geometric else { return nil }
    return Headline(
      label: "KL, geometric", value: Wording.nats(value.mean), detail: Wording.interval(value), floor: nil,
      meaning: "the same of a typical text",
      sentence:
        "The geometric mean over texts: what a typical text loses. A few positions that are far off do not lead it."
    )
  }

  private static func tail(_ report: DriftReport) -> Headline? {
    guard let value = report.masked?.kl?.p99 else { return nil }
    return Headline(
      label: "KL, 99th percentile", value: Wording.nats(value), detail: nil,
      floor: ratio(value, report.floor?.kl?.p99), meaning: "1 position in 100 is further off",
      sentence: "One \(report.scoredKind) position in a hundred is further off than this: the damage that a mean hides."
    )
  }

  private static func agreement(_ report: DriftReport) -> Headline? {
    guard let value = report.masked?.top1Agreement else { return nil }
    let floor = report.floor?.top1Agreement.flatMap { ratio(1 - value.mean, 1 - $0.mean) }
    return Headline(
      label: "same top token", value: Wording.percent(value.mean), detail: Wording.percentInterval(value),
      floor: floor, meaning: "both would write the same token",
      sentence:
        "Positions where both models hold the same token most probable. The multiple is of disagreements.")
  }

  private static func probability(_ report: DriftReport) -> Headline? {
    guard let change = report.masked?.top1ProbabilityChange else { return nil }
    return Headline(
      label: "probability shift", value: Wording.percent(change.rms),
      detail: "mean \(Wording.signedPercent(change.mean))", floor: nil, meaning: "shift of the favourite token",
      sentence: "How much the probability of the reference’s favourite token typically moves, in percentage points.")
  }

  private static func likelihood(_ report: DriftReport) -> Headline? {
    let bound = report.predictsNext ? nil : report.masked?.elbo?.difference
    guard let value = bound ?? report.masked?.nll?.difference else { return nil }
    // The floor has no bound of its own; its loss is the nearest thing, and a sign that differs makes no multiple.
    let floor = bound == nil ? report.floor?.nllDifference?.mean : nil
    return Headline(
      label: bound == nil ? "loss, difference" : "ELBO, difference", value: Wording.signed(value.mean),
      detail: Wording.interval(value, Wording.signed), floor: ratio(value.mean, floor),
      meaning: "0.01 is 1 % more perplexity",
      sentence: bound == nil
        ? "How much more surprised the candidate is by the texts, in nats a token: +0.01 is 1 % more perplexity."
        : "How much worse the candidate’s bound on the texts’ likelihood is, in nats a token: +0.01 is 1 % more perplexity."
    )
  }

  private static func routes(_ report: DriftReport) -> Headline? {
    guard let value = report.routing?.changed else { return nil }
    return Headline(
      label: "expert sets changed", value: Wording.percent(value.mean),
      detail: Wording.percentInterval(value), floor: ratio(value.mean, report.floor?.routingChanged?.mean),
      meaning: "at least one expert is another",
      sentence: "Tokens that a layer’s router sends to another set of experts: one swapped expert counts.")
  }

  private static func routeDamage(_ report: DriftReport) -> Headline? {
    guard let value = report.routeReplay?.throughRoutes else { return nil }
    return Headline(
      label: "drift through routes", value: Wording.percent(value.mean), detail: Wording.percentInterval(value),
      floor: nil, meaning: "share that changed routes cause",
      sentence:
        "The share of the KL that goes with changed routes; the rest is the error of the weights on the same routes.")
  }

  // MARK: What they write

  private static func outputs(_ report: DriftReport) -> Headline? {
    guard let value = report.trajectories?.identical else { return nil }
    return Headline(
      label: "outputs identical", value: Wording.percent(value.mean),
      detail: Wording.percentInterval(value), floor: nil,
      meaning: "prompts answered token for token",
      sentence: "Prompts that both models answer with the same tokens when they decode freely.")
  }

  private static func speed(_ report: DriftReport) -> Headline? {
    guard let rate = report.trajectories?.tokensPerForward, let change = rate.change else { return nil }
    var detail: String?
    if let a = rate.reference, let b = rate.candidate {
      detail = "\(Format.fixed(a, 2)) → \(Format.fixed(b, 2))"
    }
    return Headline(
      label: "tokens per forward", value: Wording.signedPercent(change), detail: detail, floor: nil,
      meaning: "below zero: more steps, slower",
      sentence:
        "Change of the tokens that a forward settles. Below zero the candidate is less sure and needs more steps.")
  }

  private static func tasks(_ report: DriftReport) -> Headline? {
    guard let tasks = report.tasks else { return nil }
    return Headline(
      label: "tasks lost, gained", value: "\(Format.count(tasks.lost)), \(Format.count(tasks.gained))",
      detail: Wording.p(tasks.p), floor: nil, meaning: "answers now wrong, now right",
      sentence: "Answers that only the reference, and only the candidate, gets right. A p above 0.05: it may be chance."
    )
  }

  private static func weights(_ report: DriftReport) -> Headline? {
    guard let weights = report.weights, let value = weights.relativeRMSE else { return nil }
    let decibels = weights.sqnrDB.map { "\(Format.fixed($0, 1)) dB" }
    return Headline(
      label: "weight error", value: Wording.percent(value), detail: decibels, floor: nil,
      meaning: "relative RMSE of changed tensors",
      sentence: "Root mean square error of the tensors that differ, relative to their size: what rounding took away.")
  }

  private static func ratio(_ value: Double, _ floor: Double?) -> String? {
    guard let floor, floor > 0, value > 0 else { return nil }
    return Wording.times(value / floor)
  }
}
