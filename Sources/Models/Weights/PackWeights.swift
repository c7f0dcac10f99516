package import Pack
package import Storage
import Synchronization
import Tensors

/// The weights of a pack: raw chunks in place, compressed ones unpacked into a cache with a byte budget.
package final class PackWeights: WeightSource {
  package let configuration: ModelConfiguration
  package let pack: PackFile
  private let contradictions: [SourceNote]
  private let cache: ContentCache
  private let counted = Mutex(WeightCounters())
  /// By layer and expert, those that lie raw in the pack, once they were looked up: finding the names and records of an
  /// expert takes longer than its products with one token.
  private let inPlace: Mutex<[[ExpertWeights?]]>

  /// - Parameter cacheBudget: bytes of unpacked experts to keep.
  /// - Throws: ``ModelError``; the pack's tables are verified, its chunks are not (``PackCheck`` does that).
  package init(path: String, cacheBudget: Int) throws(ModelError) {
    let config: [UInt8]
    do throws(PackError) {
      let pack = try PackFile(path: path)
      try pack.verifyTables()
      _ = try pack.object(named: "source/config.json")
      config = try pack.file(named: "source/config.json")
      self.pack = pack
    } catch { throw .pack(error) }
    var notes: [SourceNote] = []
    configuration = try ModelConfiguration(json: config, path: "\(path): config.json") { notes.append($0) }
    contradictions = notes
    cache = ContentCache(budget: cacheBudget)
    inPlace = Mutex(
      Array(repeating: Array(repeating: nil, count: configuration.expertCount), count: configuration.layerCount))
    try checkShapes()
  }

  /// Every tensor of the architecture must be there in the shape that the configuration asks for: products rely on it. No
  /// other may be there: a configuration that leaves layers or experts out is another model's.
  private func checkShapes() throws(ModelError) {
    try configuration.requireExperts(atMost: pack.header.tensorCount, in: path)
    var used: Set<String> = []
    for item in configuration.items(has: hasTensor) {
      for tensor in item.tensors {
        used.insert(tensor.name)
        let found: Shape
        do throws(PackError) { found = try pack.tensor(named: tensor.name).shape } catch {
          if case .notFound = error { throw .missingTensor(tensor.name, directory: path) }
          throw .pack(error)
        }
        guard found == tensor.shape else {
          throw .packedShape(name: tensor.name, found: found, expected: tensor.shape, path: path)
        }
      }
    }
    try requireAll(used)
  }

  private func requireAll(_ used: Set<String>) throws(ModelError) {
    var unknown: [String] = []
    for index in 0..<pack.header.tensorCount {
      do throws(PackError) {
        let name = try pack.tensor(index).name
        if !used.contains(name) { unknown.append(name) }
      } catch { throw .pack(error) }
    }
    guard unknown.isEmpty else {
      throw .unknownTensors(Array(unknown.prefix(5)), count: unknown.count, directory: path)
    }
  }

  package var path: String { pack.path }
  package var notes: [SourceNote] { contradictions + SourceNote.tiedHead(configuration, has: hasTensor) }
  package var counters: WeightCounters { counted.withLock { $0 } }

  package func hasTensor(_ id: TensorID) -> Bool { (try? pack.tensor(named: configuration.name(of: id))) != nil }

  package func matrix(_ id: TensorID) throws(ModelError) -> Matrix {
    // Whoever asks keeps it: it would be in the cache beside.
    try matrix(configuration.name(of: id)) { chunk throws(PackError) in
      try pack.content(ofChunk: chunk, codec: ChunkCodec())
    }
  }

  private func matrix(
    _ name: String, content: (Int) throws(PackError) -> HeldBytes
  ) throws(ModelError) -> Matrix {
    do throws(PackError) { return try read(name, content) } catch {
      if case .notFound = error { throw .missingTensor(name, directory: path) }
      throw .pack(error)
    }
  }

  package func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    if let known = inPlace.withLock({ $0[layer][expert] }) {
      count(known, unpacked: false, isInPlace: true)
      return known
    }
    // The projections lie in one chunk; a cache too small for it shall not have it unpacked three times.
    var held: [Int: HeldBytes] = [:]
    var unpacked = 0
    var matrices: [Matrix] = []
    for part in TensorPart.projections {
      let name = configuration.name(of: TensorID(.expert, part, layer: layer, expert: expert))
      matrices.append(
        try matrix(name) { chunk throws(PackError) in
          if let content = held[chunk] { return content }
          let content = try expertContent(chunk, &unpacked)
          held[chunk] = content
          return content
        })
    }
    let weights = ExpertWeights(gate: matrices[0], up: matrices[1], down: matrices[2])
    let isInPlace = held.values.allSatisfy { !$0.isOwned }
    if isInPlace { inPlace.withLock { $0[layer][expert] = weights } }
    count(weights, unpacked: unpacked > 0, isInPlace: isInPlace)
    return weights
  }

  private func count(_ weights: ExpertWeights, unpacked: Bool, isInPlace: Bool) {
    counted.withLock {
      $0.experts += 1
      if !unpacked { $0.hits += 1 }
      if isInPlace { $0.inPlace += 1 }
      $0.bytesRead += weights.byteCount
    }
  }

  package func willNeed(layer: Int, experts: [Int]) {
    for expert in experts {
      if let known = inPlace.withLock({ $0[layer][expert] }) {
        for block in known.gate.blocks { block.content.willNeed() }  // one chunk holds all three
        continue
      }
      let name = configuration.name(of: TensorID(.expert, .gate, layer: layer, expert: expert))
      guard let tensor = try? pack.tensor(named: name), let chunk = try? pack.chunk(tensor.firstChunk) else { continue }
      pack.mapping.willNeed(chunk.byteRange)
    }
  }

  package func places(of item: ModelItem) -> [HeldBytes] {
    // The projections of an expert lie in one chunk.
    guard let name = item.tensors.first?.name, let tensor = try? pack.tensor(named: name) else { return [] }
    return (tensor.firstChunk..<tensor.firstChunk + tensor.chunkCount).compactMap { index in
      (try? pack.chunk(index)).map { HeldBytes(pack.mapping, $0.byteRange) }
    }
  }

  package func file(named name: String) throws(ModelError) -> [UInt8]? {
    do throws(PackError) { return try pack.file(named: SourceFile.name(inPack: name)) } catch {
      if case .notFound = error { return nil }
      throw .pack(error)
    }
  }

  package func requireUnchanged() throws(ModelError) {
    do throws(FileError) { try pack.mapping.requireUnchanged(mayBeReplaced: true) } catch {
      throw .pack(.system(error))
    }
  }

  private func read(
    _ name: String, _ content: (Int) throws(PackError) -> HeldBytes
  ) throws(PackError) -> Matrix {
    let tensor = try pack.tensor(named: name)
    var blocks: [Matrix.Block] = []
    var encoding = Encoding.f32
    for position in 0..<tensor.chunkCount {
      let planes: [Range<Int>]
      (encoding, planes) = try pack.planes(of: tensor, chunk: position)
      blocks.append(
        Matrix.Block(
          rows: tensor.rows(inChunk: position), content: try content(tensor.firstChunk + position), codes: planes[0],
          scales: planes.count > 1 ? planes[1] : 0..<0))
    }
    return Matrix(name: name, encoding: encoding, shape: tensor.shape, blocks: blocks)
  }

  private func expertContent(_ chunk: Int, _ unpacked: inout Int) throws(PackError) -> HeldBytes {
    if let content = cache.content(ofChunk: chunk) { return content }
    let content = try pack.content(ofChunk: chunk, codec: ChunkCodec())
    if content.isOwned {
      unpacked += 1
      cache.insert(content, forChunk: chunk)
    }
    return content
  }
}
