package import Decoding
package import JSON
import Models

// What runs of models find out, as parts keep it.

/// What models said of positions, row by row.
private struct Rows {
  static func kept(_ rows: [ReferenceRow]) -> JSONValue {
    [
      "logits": JSONValue(column: rows.flatMap(\.logits)),
      "tokens": JSONValue(column: rows.flatMap { $0.tokens.map(Int.init) }),
      "log_normalizer": JSONValue(column: rows.map { $0.logNormalizer ?? 0 }),
      "best": JSONValue(column: rows.map(\.best)),
      "best_log_probability": JSONValue(column: rows.map(\.bestLogProbability)),
      "truth_log_probability": JSONValue(column: rows.map(\.truthLogProbability)),
    ]
  }

  static func read(_ kept: JSONValue, vocabulary: Int) -> [ReferenceRow]? {
    let width = ReferenceRow.width(vocabulary: vocabulary)
    guard let logits = kept["logits"].floats, let tokens = kept["tokens"].counts,
      let normalizers = kept["log_normalizer"].doubles, let best = kept["best"].counts,
      let bestLogs = kept["best_log_probability"].floats, let truthLogs = kept["truth_log_probability"].floats,
      logits.count == best.count * width,
      tokens.count == (vocabulary <= ReferenceRow.wholeVocabulary ? 0 : logits.count),
      [normalizers.count, bestLogs.count, truthLogs.count].allSatisfy({ $0 == best.count }),
      (tokens + best).allSatisfy({ $0 < vocabulary })
    else { return nil }
    return best.indices.map { row in
      let range = row * width..<(row + 1) * width
      return ReferenceRow(
        tokens: tokens.isEmpty ? [] : tokens[range].map { Int32($0) }, logits: Array(logits[range]),
        logNormalizer: normalizers[row], best: best[row], bestLogProbability: bestLogs[row],
        truthLogProbability: truthLogs[row])
    }
  }
}

extension ReferenceScores {
  fileprivate var kept: JSONValue {
    [
      "rows": Rows.kept(rows),
      "routes": .array(
        routes.sorted { $0.key < $1.key }.map { layer, routes in
          [
            "layer": JSONValue(layer), "slots": JSONValue(routes.first?.experts.count ?? 0),
            "experts": JSONValue(column: routes.flatMap(\.experts)),
            "weights": JSONValue(column: routes.flatMap(\.weights)),
          ]
        }),
    ]
  }

  fileprivate init?(kept: JSONValue, vocabulary: Int, experts limit: Int) {
    guard let rows = Rows.read(kept["rows"], vocabulary: vocabulary), let list = kept["routes"].array else {
      return nil
    }
    self.init(rows: rows, routes: [:])
    for item in list {
      guard let layer = item["layer"].int, let slots = item["slots"].int, slots > 0,
        let experts = item["experts"].counts, let weights = item["weights"].floats,
        experts.count == weights.count, experts.count == rows.count * slots, experts.allSatisfy({ $0 < limit })
      else { return nil }
      routes[layer] = rows.indices.map { row in
        let range = row * slots..<(row + 1) * slots
        return Router.Route(experts: Array(experts[range]), weights: Array(weights[range]))
      }
    }
  }
}

extension ScoredRun.Result {
  /// - Parameter keepsScores: whether what the reference said is kept, too.
  package func kept(scores keepsScores: Bool) -> JSONValue {
    [
      "comparisons": .array(comparisons.map(Self.kept)), "scores": keepsScores ? scores.kept : .null,
      "layers": layers.kept, "routing": routing.kept, "rivals": routesOfRivals?.kept ?? .null,
      "full_divergence": JSONValue(column: fullDivergence.map { [$0] } ?? []), "worst": worst.kept,
      "gate_mass": .array(
        gateMass.sorted { $0.key < $1.key }.map { layer, experts in
          let order = experts.sorted { $0.key < $1.key }
          return [
            JSONValue(layer), JSONValue(column: order.map(\.key)), JSONValue(column: order.map(\.value)),
          ]
        }),
      "passes": JSONValue(passes),
      "routers": .array(routers.map { [$0.tally.kept, $0.layer.map { JSONValue($0) } ?? .null] }),
    ]
  }

  private static func kept(_ comparisons: [Comparison]) -> JSONValue {
    [
      "kl": JSONValue(column: comparisons.map(\.kl)),
      "probabilities": JSONValue(
        column: comparisons.flatMap {
          [$0.reference, $0.candidate, $0.candidateBest, $0.referenceLoss, $0.candidateLoss]
        }),
      "flags": JSONValue(
        column: comparisons.flatMap { [$0.sameTop, $0.isSame, $0.referenceIsFinite, $0.candidateIsFinite] }),
    ]
  }

  private static func comparisons(_ kept: JSONValue) -> [Comparison]? {
    guard let kl = kept["kl"].doubles, let probabilities = kept["probabilities"].floats,
      let flags = kept["flags"].truths, probabilities.count == 5 * kl.count, flags.count == 4 * kl.count
    else { return nil }
    return kl.indices.map {
      Comparison(
        kl: kl[$0], probabilities: Array(probabilities[5 * $0..<5 * $0 + 5]), flags: Array(flags[4 * $0..<4 * $0 + 4]))
    }
  }

  /// Reads what was kept.
  ///
  /// - Parameters:
  ///   - scoring: what was scored.
  ///   - empty: a result with the lanes that there must be, of no texts.
  ///   - keepsScores: whether it holds what the reference said.
  ///   - sizes: of the models.
  package init?(
    kept: JSONValue, _ scoring: Scoring, like empty: Self, keepsScores: Bool, sizes: DriftRecord.Sizes
  ) {
    self.init(scores: ReferenceScores(rows: [], routes: [:]))
    if !kept["scores"].isNull {
      guard
        let scores = ReferenceScores(kept: kept["scores"], vocabulary: sizes.vocabulary, experts: sizes.experts),
        scores.rows.count == scoring.positionCount
      else { return nil }
      self.scores = scores
    }
    guard let lanes = kept["comparisons"].array, let layers = LayerDrift(kept: kept["layers"]),
      let routing = RoutingDrift(kept: kept["routing"]),
      routing.ratios.allSatisfy(scoring.plan.ratios.indices.contains),
      let divergence = kept["full_divergence"].doubles, let worst = WorstPositions(kept: kept["worst"]),
      worst.belongs(to: scoring.states, vocabulary: sizes.vocabulary), let masses = kept["gate_mass"].array,
      let passes = kept["passes"].int, (0..<1 << 48).contains(passes), let routers = kept["routers"].array
    else { return nil }
    for lane in lanes {
      guard let comparisons = Self.comparisons(lane), comparisons.count == scoring.positionCount else { return nil }
      self.comparisons.append(comparisons)
    }
    for item in routers {
      guard let pair = item.array, pair.count == 2, let tally = NonFinite(kept: pair[0]),
        tally.first.map({ scoring.texts.indices.contains($0.text) }) ?? true
      else { return nil }
      self.routers.append((tally, pair[1].int))
    }
    for item in masses {
      guard let row = item.array, row.count == 3, let layer = row[0].int, let experts = row[1].counts,
        let mass = row[2].doubles, mass.count == experts.count, Set(experts).count == experts.count
      else { return nil }
      gateMass[layer] = Dictionary(zip(experts, mass)) { first, _ in first }
    }
    (self.layers, self.routing, self.worst, self.passes) = (layers, routing, worst, passes)
    fullDivergence = divergence.first
    if !kept["rivals"].isNull {
      guard let rivals = PairedSums(kept: kept["rivals"]) else { return nil }
      routesOfRivals = rivals
    }
    guard comparisons.count == empty.comparisons.count, self.routers.count == empty.routers.count,
      (routesOfRivals == nil) == (empty.routesOfRivals == nil),
      (fullDivergence == nil) == (empty.fullDivergence == nil),
      keepsScores == !kept["scores"].isNull
    else { return nil }
  }
}

extension TrajectoryScorer.Result {
  /// - Parameter keepsRows: whether what the reference said is kept, too.
  package func kept(rows keepsRows: Bool) -> JSONValue {
    [
      "rows": keepsRows ? Rows.kept(rows) : .null, "along": along.kept,
      "decisions": JSONValue(column: decisions.map { $0.map { $0.isSame ? 1 : 0 } ?? 2 } as [UInt8]),
      "prompts": JSONValue(column: decisions.map { $0?.prompt ?? 0 }),
      "is_same": isSame.map { JSONValue($0) } ?? .null,
      "non_finite": [nonFinite.reference.kept, nonFinite.candidate.kept],
    ]
  }

  /// - Parameters:
  ///   - prompts: numbers of those that it is about.
  ///   - rowCount: rows that there must be; nil where none are kept.
  package init?(kept: JSONValue, prompts: Range<Int>, rowCount: Int?, vocabulary: Int) {
    self.init()
    if let rowCount {
      guard let rows = Rows.read(kept["rows"], vocabulary: vocabulary), rows.count == rowCount else { return nil }
      self.rows = rows
    }
    guard let along = AlongReference(kept: kept["along"]), let decisions = kept["decisions"].bytes,
      let origins = kept["prompts"].counts, origins.count == decisions.count, decisions.allSatisfy({ $0 < 3 }),
      let tallies = kept["non_finite"].array, tallies.count == 2, let reference = NonFinite(kept: tallies[0]),
      let candidate = NonFinite(kept: tallies[1]),
      [reference, candidate].allSatisfy({ $0.first.map { prompts.contains($0.text) } ?? true })
    else { return nil }
    self.along = along
    self.decisions = zip(origins, decisions).map { $1 == 2 ? nil : ($0, $1 == 1) }
    isSame = kept["is_same"].bool
    nonFinite = (reference, candidate)
  }
}

/// What a model wrote for some prompts.
package struct DecodedPrompts: Sendable {
  package let outputs: [BlockDiffusion.Output]

  package init(_ outputs: [BlockDiffusion.Output]) { self.outputs = outputs }

  package var kept: JSONValue { .array(outputs.map(\.recordJSON)) }

  package init?(kept: JSONValue, count: Int, vocabulary: Int) {
    guard let list = kept.array, list.count == count else { return nil }
    var outputs: [BlockDiffusion.Output] = []
    for value in list {
      guard let output = try? BlockDiffusion.Output(RecordFields(value, "", path: ""), vocabulary: vocabulary) else {
        return nil
      }
      outputs.append(output)
    }
    self.outputs = outputs
  }
}
