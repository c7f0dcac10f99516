package import Calibration
import Dispatch
package import Kernels
import Models
package import Pack
package import Quantization
import Safetensors
import Storage
import Tensors

/// Carries a plan out: reads each chunk's weights, encodes them, and writes the chunks in order.
package struct Converter: Sendable {
  package let plan: ConversionPlan
  package let kernels: KernelSet
  /// Threads that encode.
  package let threads: Int
  /// Threads that were asked for: more than ``threads`` where memory has no room for all.
  package let threadsAsked: Int
  package let budget: MemoryBudget
  let contents: BufferPool
  let pieces = BufferPool(capacity: ReadOnlyFile.bufferByteCount(MemoryBudget.pieceByteCount))
  /// The files of the checkpoint.
  let files: [ReadOnlyFile]
  /// As many as may encode at once.
  let encoders: DispatchSemaphore

  /// What a conversion came to.
  package struct Outcome: Sendable {
    package let byteCount: Int
    /// Stored bytes of all routed experts.
    package let expertByteCount: Int
    /// The root hash of the pack; nil for a dry run.
    package let rootHash: UInt64?
    /// By tensor of the pack plan; plain ones have no error.
    package let statistics: [QuantizationStatistics]
    /// What the calibrated solver says; nil where it had no part.
    package let solutions: SolutionRecord?
  }

  /// - Parameter statesHeld: bytes that the source of states holds; see ``StateSource/heldByteCount``.
  package init(
    _ plan: ConversionPlan, kernels: KernelSet, threads: Int, memoryLimit: Int, statesHeld: Int = 0
  ) throws(ConversionError) {
    self.plan = plan
    self.kernels = kernels
    budget = try MemoryBudget(plan, limit: memoryLimit, threads: threads, statesHeld: statesHeld)
    self.threads = min(threads, budget.window)
    threadsAsked = threads
    let largest = plan.pack.chunks.map(\.layout.byteCount).max() ?? 0
    contents = BufferPool(
      capacity: ChunkCodec.bufferByteCount(contentLength: largest, plan.options.compression))
    files = plan.checkpoint.files.map { ReadOnlyFile($0.file) }
    encoders = DispatchSemaphore(value: self.threads)
  }

  /// A pack that is written and has no name yet, and what it came to.
  package struct Written: ~Copyable {
    package let outcome: Outcome
    package let pack: UnnamedPack

    /// - Throws: ``ConversionError/pack(_:)``; nothing is left then.
    package consuming func commit() throws(ConversionError) -> Outcome {
      do throws(PackError) { try pack.commit() } catch { throw .pack(error) }
      return outcome
    }
  }

  /// Writes the pack and gives it its name.
  ///
  /// - Parameter replaces: whether a file that has the name may be replaced.
  package func write(
    to path: String, states: (any StateSource)? = nil, replaces: Bool = true, progress: (Int) -> Void,
    isInterrupted: () -> Bool
  ) throws(ConversionError) -> Outcome {
    try make(for: path, states: states, replaces: replaces, progress: progress, isInterrupted: isInterrupted).commit()
  }

  /// Writes a pack that has no name before ``Written/commit()``.
  package func make(
    for path: String, states: (any StateSource)? = nil, replaces: Bool, progress: (Int) -> Void,
    isInterrupted: () -> Bool
  ) throws(ConversionError) -> Written {
    let file: OutputFile
    do throws(FileError) { file = try OutputFile(path: path, replaces: replaces) } catch { throw .pack(.system(error)) }
    return try make(file, states, progress: progress, isInterrupted: isInterrupted)
  }

  /// Writes a pack that never gets a name.
  package func make(
    withoutNameIn directory: String, states: (any StateSource)? = nil, progress: (Int) -> Void,
    isInterrupted: () -> Bool
  ) throws(ConversionError) -> Written {
    let file: OutputFile
    do throws(FileError) { file = try OutputFile(withoutNameIn: directory) } catch { throw .pack(.system(error)) }
    return try make(file, states, progress: progress, isInterrupted: isInterrupted)
  }

  /// Writes the pack to a file.
  ///
  /// - Parameters:
  ///   - states: of the routed experts, where the plan's options say that there are some.
  ///   - progress: called after each chunk with the source bytes done so far.
  ///   - isInterrupted: asked after each chunk; true stops with ``ConversionError/interrupted``.
  /// - Throws: ``ConversionError``; nothing is left under the final name or beside it.
  private func make(
    _ file: consuming OutputFile, _ states: (any StateSource)?, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> Written {
    var writer: PackWriter
    do throws(FileError) {
      writer = try PackWriter(
        file, plan: plan.pack, depth: budget.writes,
        byteCount: plan.options.compression == .none ? plan.rawByteCount : nil)
    } catch { throw .pack(.system(error)) }
    var tally = Tally(plan)
    try encodeAll(states, &tally, progress: progress, isInterrupted: isInterrupted) {
      (_, result) throws(ConversionError) in
      do throws(PackError) { try writer.append(result.chunk) } catch { throw .pack(error) }
    }
    return try finish(writer, tally)
  }

  /// Ends a pack whose chunks are written.
  func finish(_ writer: consuming PackWriter, _ tally: Tally) throws(ConversionError) -> Written {
    do throws(PackError) {
      let pack = try writer.finish(
        errors: tally.errors, codec: ChunkCodec(plan.options.compression), files: tally.files)
      return Written(outcome: tally.outcome(pack.header), pack: pack)
    } catch { throw .pack(error) }
  }

  /// Finds the exact size of the pack without writing. Without compression the plan alone tells it, in no time; with
  /// compression all weights have to be read and encoded.
  package func measure(
    states: (any StateSource)? = nil, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> Outcome {
    guard plan.options.compression != .none else {
      return Outcome(
        byteCount: plan.rawByteCount, expertByteCount: plan.rawExpertByteCount, rootHash: nil, statistics: [],
        solutions: nil)
    }
    let (header, tally) = try assemble(states, progress: progress, isInterrupted: isInterrupted) { _, _ in }
    return tally.outcome(header, isWritten: false)
  }

  /// Encodes everything without writing a pack, and hands each chunk over as it would lie there.
  ///
  /// - Parameter consume: takes chunks of weights, by their places in the pack and in this order.
  /// - Returns: what the pack would come to, with its root hash.
  package func feed(
    states: (any StateSource)? = nil, progress: (Int) -> Void, isInterrupted: () -> Bool,
    _ consume: (Int, EncodedChunk) throws(ConversionError) -> Void
  ) throws(ConversionError) -> Outcome {
    let (header, tally) = try assemble(states, progress: progress, isInterrupted: isInterrupted, consume)
    return tally.outcome(header)
  }

  private func assemble(
    _ states: (any StateSource)?, progress: (Int) -> Void, isInterrupted: () -> Bool,
    _ consume: (Int, EncodedChunk) throws(ConversionError) -> Void
  ) throws(ConversionError) -> (PackHeader, Tally) {
    var assembler = PackAssembler(plan: plan.pack)
    var tally = Tally(plan)
    try encodeAll(states, &tally, progress: progress, isInterrupted: isInterrupted) {
      (index, result) throws(ConversionError) in
      assembler.place(result.chunk)
      try consume(index, result.chunk)
    }
    let codec = ChunkCodec(plan.options.compression)
    for file in plan.pack.files {
      assembler.place(codec.encode(tally.files.first { $0.name == file.name } ?? file))
    }
    return (assembler.assemble(errors: tally.errors).header, tally)
  }

  /// Encodes all chunks and tells what they come to.
  private func encodeAll(
    _ states: (any StateSource)?, _ tally: inout Tally, progress: (Int) -> Void, isInterrupted: () -> Bool,
    _ consume: (Int, EncodedResult) throws(ConversionError) -> Void
  ) throws(ConversionError) {
    let hash = try encode(
      plan.pack.chunks.indices, states, window: budget.window, progress: progress, isInterrupted: isInterrupted
    ) { (index, result) throws(ConversionError) in
      try consume(index, result)
      tally.add(index, result)
    }
    if let hash { tally.setStates(hash) }
  }

  /// Encodes some chunks, one behind the other, and hands them over in order.
  ///
  /// - Parameters:
  ///   - window: chunks that may exist at once.
  ///   - progress: called after each chunk with the source bytes done so far.
  ///   - isInterrupted: asked before each chunk is handed over; true stops with ``ConversionError/interrupted``.
  /// - Returns: the hash of the states of all layers that were looked at.
  func encode(
    _ range: Range<Int>, _ states: (any StateSource)?, window: Int, progress: (Int) -> Void,
    isInterrupted: () -> Bool, _ consume: (Int, EncodedResult) throws(ConversionError) -> Void
  ) throws(ConversionError) -> UInt64? {
    var (next, done) = (range.lowerBound, 0)
    // Asked before the first byte is read: what we ask the system to read ahead would look as if it had been there.
    let wasResident = range.map { index in
      parts(of: index).allSatisfy { $0.file.isCached($0.range) }
    }
    func take(_ index: Int, _ result: EncodedResult) throws(ConversionError) {
      if isInterrupted() { throw .interrupted }
      try consume(index, result)
      done += result.byteCount
      progress(done)
    }
    func advance(to end: Int, _ solver: LayerSolver?) throws(ConversionError) {
      guard next < end else { return }
      try self.encode(next..<end, solver, window: window, { wasResident[$0 - range.lowerBound] }, take)
      next = end
    }
    var hash: UInt64?
    if let states {
      var hashes: [UInt64] = []
      // All layers where all chunks are asked for: their hash stands in the pack.
      let layers = range == plan.pack.chunks.indices ? states.document.layers : plan.solvedLayers(in: range)
      try eachLayer(of: states, in: layers) { (layer, solver) throws(ConversionError) in
        hashes.append(layer.hash)
        let last = plan.pack.chunks.lastIndex { $0.kind == .expert && $0.layer == layer.layer }
        try advance(to: min(last.map { $0 + 1 } ?? next, range.upperBound), solver)
      }
      hash = SolutionRecord.hash(ofLayers: hashes)
    }
    try advance(to: range.upperBound, nil)
    do { try plan.requireUnchangedSources() } catch { throw .source(error) }
    do throws(StateError) { try states?.requireUnchanged() } catch { throw .states(error) }
    return hash
  }

  /// Some chunks, in order.
  private func encode(
    _ range: Range<Int>, _ solver: LayerSolver?, window: Int, _ wasResident: @escaping @Sendable (Int) -> Bool,
    _ consume: (Int, EncodedResult) throws(ConversionError) -> Void
  ) throws(ConversionError) {
    let compression = plan.options.compression
    // One more than encodes, at least, so that the calling thread can write meanwhile.
    let workers = range.allSatisfy(wasResident) ? max(threads, 2) : max(threads, budget.readers)
    try inOrder(
      count: range.count, threads: min(workers, window), window: window,
      makeWorkspace: { ChunkCodec(compression, buffers: contents) },
      work: { codec, place in
        let index = range.lowerBound + place
        do throws(ConversionError) {
          return .success(try encode(index, codec, solver, wasResident: wasResident(index)))
        } catch { return .failure(error) }
      },
      consume: { (place, result: EncodedResult) throws(ConversionError) in
        try consume(range.lowerBound + place, result)
      })
  }
}
