package import JSON

// Sums and lists as parts keep them. What goes by text, layer or ratio is in ascending order, so that the same measurement is the
// same document.

extension ClusterSums: Measurement {
  package var kept: JSONValue {
    let order = places.sorted { $0.key < $1.key }
    return [
      "texts": JSONValue(column: order.map(\.key)), "sums": JSONValue(column: order.map { sums[$0.value] }),
      "counts": JSONValue(column: order.map { counts[$0.value] }),
    ]
  }

  package init?(kept: JSONValue) {
    guard let texts = kept["texts"].ints, let sums = kept["sums"].doubles, let counts = kept["counts"].counts,
      sums.count == texts.count, counts.count == texts.count, Set(texts).count == texts.count
    else { return nil }
    self.init(clusters: texts, sums: sums, counts: counts)
  }
}

extension Sample: Measurement {
  package var kept: JSONValue { ["values": JSONValue(column: values), "sums": sums.kept] }

  package init?(kept: JSONValue) {
    guard let values = kept["values"].doubles, let sums = ClusterSums(kept: kept["sums"]), sums.count == values.count
    else { return nil }
    self.init(values: values, sums: sums)
  }
}

extension PairedSums: Measurement {
  package var kept: JSONValue {
    let order = places.sorted { $0.key < $1.key }
    let column = { (value: (Sums) -> Double) in JSONValue(column: order.map { value(sums[$0.value]) }) }
    return [
      "texts": JSONValue(column: order.map(\.key)), "first": column(\.first), "second": column(\.second),
      "counts": column(\.count),
    ]
  }

  package init?(kept: JSONValue) {
    guard let texts = kept["texts"].ints, let first = kept["first"].doubles, let second = kept["second"].doubles,
      let counts = kept["counts"].doubles, [first.count, second.count, counts.count].allSatisfy({ $0 == texts.count }),
      Set(texts).count == texts.count, counts.allSatisfy({ $0 >= 0 && $0 < 1e15 })
    else { return nil }
    self.init(
      clusters: texts,
      sums: texts.indices.map { Sums(first: first[$0], second: second[$0], count: counts[$0]) })
  }
}

extension NonFinite: Measurement {
  package var kept: JSONValue { JSONValue(column: [count, total] + (first.map { [$0.text, $0.position] } ?? [])) }

  package init?(kept: JSONValue) {
    guard let numbers = kept.counts, numbers.count == 2 || numbers.count == 4, (numbers[0] > 0) == (numbers.count == 4)
    else { return nil }
    self.init(
      count: numbers[0], total: numbers[1],
      first: numbers.count == 4 ? Place(text: numbers[2], position: numbers[3]) : nil)
  }
}

extension LayerDrift: Measurement {
  package var kept: JSONValue {
    .array(
      layers.sorted { $0.key < $1.key }.map { layer, sums in
        [
          "layer": JSONValue(layer),
          "sums": JSONValue(column: [sums.error, sums.weight, sums.cosines, sums.floorError, sums.floorWeight]),
          "counts": JSONValue(
            column: [
              sums.rows, sums.nonFinite.reference, sums.nonFinite.candidate, sums.nonFinite.either, sums.floorNonFinite,
            ]),
          "has_floor": JSONValue(sums.hasFloor),
        ]
      })
  }

  package init?(kept: JSONValue) {
    self.init()
    guard let list = kept.array else { return nil }
    for item in list {
      guard let layer = item["layer"].int, let numbers = item["sums"].doubles, numbers.count == 5,
        let counts = item["counts"].counts, counts.count == 5, let hasFloor = item["has_floor"].bool
      else { return nil }
      layers[layer] = Sums(
        error: numbers[0], weight: numbers[1], cosines: numbers[2], rows: counts[0],
        nonFinite: (counts[1], counts[2], counts[3]), floorError: numbers[3], floorWeight: numbers[4],
        floorNonFinite: counts[4], hasFloor: hasFloor)
    }
  }
}

/// By layer or ratio.
private func kept<Value>(_ values: [Int: Value], _ value: (Value) -> JSONValue) -> JSONValue {
  .array(values.sorted { $0.key < $1.key }.map { [JSONValue($0.key), value($0.value)] })
}

private func read<Value>(_ list: JSONValue, _ value: (JSONValue) -> Value?) -> [Int: Value]? {
  guard let list = list.array else { return nil }
  var values: [Int: Value] = [:]
  for item in list {
    guard let pair = item.array, pair.count == 2, let key = pair[0].int, let own = value(pair[1]),
      values.updateValue(own, forKey: key) == nil
    else { return nil }
  }
  return values
}

extension RoutingDrift: Measurement {
  package var kept: JSONValue {
    let sums = { (sums: Sums) -> JSONValue in
      ["changed": sums.changed.kept, "overlap": sums.overlap.kept, "kl": sums.kl.kept, "shift": sums.shift.kept]
    }
    return [
      "total": sums(total), "by_layer": Drift.kept(byLayer, sums), "by_ratio": Drift.kept(byRatio, sums),
      "floor": Drift.kept(floor, \.kept), "non_finite": JSONValue(nonFiniteCount),
    ]
  }

  package init?(kept: JSONValue) {
    self.init()
    let sums = { (value: JSONValue) -> Sums? in
      guard let changed = ClusterSums(kept: value["changed"]), let overlap = ClusterSums(kept: value["overlap"]),
        let kl = ClusterSums(kept: value["kl"]), let shift = ClusterSums(kept: value["shift"])
      else { return nil }
      return Sums(changed: changed, overlap: overlap, kl: kl, shift: shift)
    }
    guard let total = sums(kept["total"]), let byLayer = read(kept["by_layer"], sums),
      let byRatio = read(kept["by_ratio"], sums), let floor = read(kept["floor"], { ClusterSums(kept: $0) }),
      let count = kept["non_finite"].int, (0..<1 << 48).contains(count)
    else { return nil }
    (self.total, self.byLayer, self.byRatio, self.floor, nonFiniteCount) = (total, byLayer, byRatio, floor, count)
  }

  /// The mask ratios that it has rows of, by their numbers.
  var ratios: some Sequence<Int> { byRatio.keys }
}

extension WorstPositions: Measurement {
  package var kept: JSONValue {
    let said = { (tokens: [(token: Int, probability: Double)]) -> JSONValue in
      [JSONValue(column: tokens.map(\.token)), JSONValue(column: tokens.map(\.probability))]
    }
    return .array(
      entries.map {
        [
          "state": JSONValue($0.state), "place": JSONValue($0.place), "kl": JSONValue($0.kl),
          "reference": said($0.reference), "candidate": said($0.candidate),
        ]
      })
  }

  package init?(kept: JSONValue) {
    self.init()
    let said = { (value: JSONValue) -> [(token: Int, probability: Double)]? in
      guard let pair = value.array, pair.count == 2, let tokens = pair[0].counts, let shares = pair[1].doubles,
        shares.count == tokens.count
      else { return nil }
      return zip(tokens, shares).map { (token: $0, probability: $1) }
    }
    guard let list = kept.array else { return nil }
    for item in list {
      guard let state = item["state"].int, let place = item["place"].int, let kl = item["kl"].double,
        let reference = said(item["reference"]), let candidate = said(item["candidate"])
      else { return nil }
      entries.append(Entry(state: state, place: place, kl: kl, reference: reference, candidate: candidate))
    }
  }

  /// Whether all of them are counted positions of these states.
  func belongs(to states: [MaskedState], vocabulary: Int) -> Bool {
    entries.allSatisfy { entry in
      states.indices.contains(entry.state) && states[entry.state].counted.indices.contains(entry.place)
        && (entry.reference + entry.candidate).allSatisfy { $0.token < vocabulary }
    }
  }
}

extension AlongReference: Measurement {
  package var kept: JSONValue {
    [
      "same_positions": samePositions.kept, "slots": slots.kept, "same_tokens": sameTokens.kept,
      "same_decision": sameDecision.kept, "kl": kl.kept, "non_finite": JSONValue(nonFiniteCount),
      "quarters": .array(
        quarters.map { [JSONValue(column: $0.samePositions), JSONValue(column: $0.sameTokens)] }),
    ]
  }

  package init?(kept: JSONValue) {
    self.init()
    guard let samePositions = ClusterSums(kept: kept["same_positions"]), let slots = ClusterSums(kept: kept["slots"]),
      let sameTokens = ClusterSums(kept: kept["same_tokens"]),
      let sameDecision = ClusterSums(kept: kept["same_decision"]), let kl = Sample(kept: kept["kl"]),
      let count = kept["non_finite"].int, (0..<1 << 48).contains(count), let list = kept["quarters"].array,
      list.count == quarters.count
    else { return nil }
    for (index, item) in list.enumerated() {
      guard let pair = item.array, pair.count == 2, let positions = pair[0].truths, let tokens = pair[1].truths
      else { return nil }
      quarters[index] = Quarter(samePositions: positions, sameTokens: tokens)
    }
    (self.samePositions, self.slots, self.sameTokens) = (samePositions, slots, sameTokens)
    (self.sameDecision, self.kl, nonFiniteCount) = (sameDecision, kl, count)
  }
}

extension Attribution.Measured: Measurement {
  package var kept: JSONValue { ["kl": kl.kept, "non_finite": nonFinite.kept] }

  package init?(kept: JSONValue) {
    guard let kl = Sample(kept: kept["kl"]), let nonFinite = NonFinite(kept: kept["non_finite"]) else { return nil }
    (self.kl, self.nonFinite) = (kl, nonFinite)
  }

  /// What was found of the texts that come behind.
  package static func += (all: inout Self, next: Self) {
    all.kl += next.kl
    all.nonFinite += next.nonFinite
  }
}
