import Glibc
import Models
import Storage
import TestSupport
import Testing

/// Where weights come from must not change what is computed.
@Suite struct ReadAheadTests {
  /// Writes a checkpoint of which nothing is in the page cache, as far as the file system allows that.
  private func withColdCheckpoint(_ tiny: TinyCheckpoint, _ body: (StoredWeights, [String]) throws -> Void) throws {
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
      try body(try StoredWeights(path: directory), paths)
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

  private func hidden(_ model: TransformerModel, _ readAhead: ReadAhead?) throws -> [Float] {
    let segments = [40, 7].map { count in
      TransformerModel.Segment(
        tokens: (0..<count).map { ($0 * 7 + count) % 40 }, start: 0, cache: KeyValueCache(model.configuration))
    }
    var hidden = model.embed(segments)
    for layer in 0..<model.configuration.layerCount {
      try model.advance(&hidden, through: layer, segments, blockLength: 32, readAhead: readAhead)
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
