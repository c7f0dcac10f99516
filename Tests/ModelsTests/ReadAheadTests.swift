import Conversion
import Glibc
import Kernels
import Models
import Storage
import TestSupport
import Testing

/// Where weights come from must not change what is computed.
@Suite struct ReadAheadTests {
  /// Writes a checkpoint of which nothing is in the page cache, as far as the file system allows that.
  private func withColdCheckpoint(
    _ tiny: TinyCheckpoint, cacheBudget: Int = 0, _ body: (StoredWeights, [String]) throws -> Void
  ) throws {
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let paths = listing(of: directory).filter { $0.hasSuffix(".safetensors") }.map { "\(directory)/\($0)" }
      for path in paths {
        let file = try MappedFile(path: path)
        let descriptor = unsafe open(path, O_RDONLY)
        fsync(descriptor)
        close(descriptor)
        file.release(0..<file.byteCount)
      }
      try body(try StoredWeights(path: directory, cacheBudget: cacheBudget), paths)
    }
  }

  /// Whether the file system of temporary files has `O_DIRECT`.
  private let canReadDirectly: Bool = {
    let found = try? withTemporaryDirectory { directory in
      try write([1], to: directory + "/x")
      return try MappedFile(path: directory + "/x").direct() != nil
    }
    return found ?? false
  }()

  private func hidden(
    _ model: TransformerModel, _ readAhead: ReadAhead?, _ taps: TransformerModel.Taps = .init()
  ) throws -> [Float] {
    let segments = [40, 7].map { count in
      TransformerModel.Segment(
        tokens: (0..<count).map { ($0 * 7 + count) % 40 }, start: 0, cache: KeyValueCache(model.configuration))
    }
    var hidden = model.embed(segments)
    for layer in 0..<model.configuration.layerCount {
      try model.advance(&hidden, through: layer, segments, blockLength: 32, taps: taps, readAhead: readAhead)
    }
    return hidden
  }

  @Test(arguments: TinyCheckpoint.Layout.allCases, TinyCheckpoint.Shards.allCases)
  func whatIsReadAheadIsTheSame(layout: TinyCheckpoint.Layout, shards: TinyCheckpoint.Shards) throws {
    var tiny = TinyCheckpoint()
    (tiny.layout, tiny.shards, tiny.denseLayers, tiny.experts) = (layout, shards, 1, 12)
    try withColdCheckpoint(tiny) { weights, _ in
      let model = try TransformerModel(weights, compute: Compute(threads: 2))
      let past = try #require(ReadAhead(weights, rows: 47, isOnly: true, memory: 64 << 20))
      #expect((past.experts != nil) == canReadDirectly)
      let first = try hidden(model, past)
      let ahead = try #require(ReadAhead(weights, rows: 47))
      #expect(try hidden(model, ahead) == first)
      let before = weights.counters
      #expect(try hidden(model, nil) == first)
      // Whoever reads them, the experts that are used count: three runs, the last of which is as long as each.
      let own = weights.counters.bytesRead - before.bytesRead
      #expect(weights.counters.bytesRead == 3 * own && own > 0)
    }
  }

  @Test(
    "experts that memory does not keep are read again, and are the same",
    arguments: TinyCheckpoint.Layout.allCases.map { ($0, 1, 64 << 20) } + [
      (.perExpert, 0, 64 << 20), (.perExpert, 1, 0),
    ])
  func evicted(layout: TinyCheckpoint.Layout, denseLayers: Int, cacheBudget: Int) throws {
    var tiny = TinyCheckpoint()
    (tiny.layout, tiny.denseLayers, tiny.experts) = (layout, denseLayers, 200)
    try withColdCheckpoint(tiny, cacheBudget: cacheBudget) { weights, _ in
      let model = try TransformerModel(weights, compute: Compute(threads: 2))
      let first = try hidden(model, nil)
      let calls = weights.counters.experts
      var taps = TransformerModel.Taps()
      taps.done = { part in
        guard part == .sharedExperts else { return }  // the experts come next
        for place in weights.items.flatMap(weights.places(of:)) {
          if let (mapping, _) = place.placeInFile { mapping.release(0..<mapping.byteCount) }
        }
      }
      for _ in 0..<40 { #expect(try hidden(model, nil, taps) == first) }
      let counters = weights.counters
      #expect(counters.experts == 41 * calls && counters.inPlace == counters.experts)
      if cacheBudget == 0 { #expect(counters.evicted == 0) }
      if canReadDirectly, cacheBudget > 0 { #expect(counters.evicted > 20 * calls && counters.evicted <= 40 * calls) }
      // Memory is free again.
      for _ in 0..<400 { #expect(try hidden(model, nil) == first) }
      let later = weights.counters.evicted
      #expect(try hidden(model, nil) == first && weights.counters.evicted == later)
    }
  }

  @Test("what was asked for is given once, whatever else was asked for", arguments: ["int4-g16s8", "int8-g32", "keep"])
  func evictedExperts(encoding: String) throws {
    var tiny = TinyCheckpoint()
    (tiny.denseLayers, tiny.experts) = (0, 200)
    try withColdCheckpoint(tiny) { checkpoint, _ in
      guard canReadDirectly else { return }
      var options = ConversionPlan.Options()
      options.recipe = Recipe(experts: try #require(Recipe.Choice(name: encoding)), rest: .keep)
      let path = checkpoint.path + "/tiny.ingot"
      _ = try Converter(
        try ConversionPlan(checkpoint: checkpoint.path, options: options), kernels: .best, threads: 1,
        memoryLimit: 1 << 30
      )
      .write(to: path, progress: { _ in }, isInterrupted: { false })
      let weights = try StoredWeights(path: path)
      let all = try (0..<200).map { try weights.expert(layer: 0, expert: $0) }
      let evicted = EvictedExperts(largest: 1 << 20, count: 48)
      // More than there is room for, and the last ones are wanted first.
      for (expert, one) in all.enumerated() { #expect(evicted.ask(.init(layer: 0, expert: expert), one)) }
      for expert in (100..<200).reversed() {
        let copy = try #require(evicted.take(.init(layer: 0, expert: expert)))
        for (own, other) in zip([copy.gate, copy.up, copy.down], [all[expert].gate, all[expert].up, all[expert].down]) {
          #expect(own.byteCount == other.byteCount && own.encoding == other.encoding)
          for (a, b) in zip(own.blocks, other.blocks) {
            #expect(a.content.isOwned && !b.content.isOwned && a.rows == b.rows)
            for planes in [\Matrix.Block.codes, \.scales] {
              let (new, old) = (a[keyPath: planes], b[keyPath: planes])
              #expect(a.content.bytes.extracting(new).array == b.content.bytes.extracting(old).array)
            }
          }
        }
        #expect(evicted.take(.init(layer: 0, expert: expert)) == nil)
      }
      evicted.keepOnly { $0.expert < 3 }
      #expect(evicted.take(.init(layer: 0, expert: 50)) == nil)
      #expect(evicted.take(.init(layer: 0, expert: 2)) != nil)
      #expect(evicted.take(.init(layer: 1, expert: 1)) == nil)
      // What is still asked for is forgotten with it.
    }
  }

  @Test func fewRowsReadWhatTheyChoose() throws {
    try withColdCheckpoint(TinyCheckpoint()) { weights, _ in #expect(ReadAhead(weights, rows: 1) == nil) }
  }

  @Test func aReaderThatIsLeftEarlyEnds() throws {
    var tiny = TinyCheckpoint()
    tiny.experts = 64
    try withColdCheckpoint(tiny) { weights, _ in
      guard canReadDirectly else { return }
      for count in [0, 1, 9, 64] {
        let reader = try #require(weights.expertReader(memory: 64 << 20, threads: 2))
        for _ in 0..<count { _ = try reader.next(isUsed: true) }
      }
      #expect(weights.expertReader(memory: 1 << 10, threads: 2) == nil)
    }
  }

  @Test func aFileCutShortIsAnError() throws {
    var tiny = TinyCheckpoint()
    tiny.experts = 64
    try withColdCheckpoint(tiny) { weights, paths in
      guard let path = paths.first, let half = try? MappedFile(path: path).byteCount / 2 else { return }
      try #require(unsafe truncate(path, off_t(half)) == 0)
      guard canReadDirectly else { return }
      let reader = try #require(weights.expertReader(memory: 64 << 20, threads: 2))
      #expect {
        for _ in 0..<64 { _ = try reader.next(isUsed: true) }
      } throws: { error in
        if case ModelError.source = error { true } else { false }
      }
    }
  }
}
