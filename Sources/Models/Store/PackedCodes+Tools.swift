import Kernels
import Safetensors
import Storage
import Tensors

// What each tool writes for a matrix, and what of it cannot be read.

extension PackedCodes {
  /// The matrices of a checkpoint that are packed and can be read, with the file of their codes; those that cannot are named where
  /// they are needed.
  ///
  /// - Parameter settings: what `config.json` says of them.
  static func all(
    of checkpoint: Checkpoint, _ settings: QuantizationConfiguration
  ) -> [(file: Int, codes: PackedCodes)] {
    var found: [(Int, PackedCodes)] = []
    for (file, shard) in checkpoint.files.enumerated() {
      for entry in shard.tensors {
        if let codes = try? with(codes: (shard, entry), in: checkpoint, settings) { found.append((file, codes)) }
      }
    }
    return found
  }

  /// What the names of scales and other parts end with, and what that of the codes ends with then.
  private static let endings = [
    (["_packed", "_scale", "_shape", "_zero_point", "_g_idx"], "_packed"),
    ([".qweight", ".qzeros", ".scales", ".g_idx"], ".qweight"), ([".weight", ".scales", ".biases"], ".weight"),
  ]

  /// Explains why a tensor is not taken for a part of packed codes.
  ///
  /// - Throws: what reading them throws, where the name is one of a part.
  static func requireReadable(
    _ part: String, in checkpoint: Checkpoint, _ settings: QuantizationConfiguration
  ) throws(ModelError) {
    for (suffixes, ofCodes) in endings {
      for suffix in suffixes where part.hasSuffix(suffix) {
        guard let codes = checkpoint.tensor(named: part.dropLast(suffix.count) + ofCodes) else { continue }
        _ = try with(codes: codes, in: checkpoint, settings)
      }
    }
  }

  /// What a tensor of codes belongs to; nil for a tensor of another kind.
  ///
  /// - Throws: ``ModelError/badTensor(name:detail:path:byteOffset:)`` for what cannot be read, and
  ///   ``ModelError/missingTensor(_:directory:)``.
  private static func with(
    codes: Place, in checkpoint: Checkpoint, _ settings: QuantizationConfiguration
  ) throws(ModelError) -> PackedCodes? {
    let name = codes.entry.name
    func module(_ suffix: String) -> String { String(name.dropLast(suffix.count)) }
    if name.hasSuffix("_packed") { return try compressedTensors(module("_packed"), codes, checkpoint) }
    if name.hasSuffix(".qweight") { return try gptq(module(".qweight"), codes, checkpoint, settings) }
    if name.hasSuffix(".weight"), codes.entry.dtype == .u32 {
      return try mlx(module(".weight"), codes, checkpoint, settings)
    }
    // Safetensors may have a type of any name, with any number of bytes.
    guard codes.file.isGGUF, let bits = GGUFTypes.codeBits(codes.entry.dtype) else { return nil }
    return ggml(codes, bits: bits)
  }

  private static func compressedTensors(
    _ name: String, _ codes: Place, _ checkpoint: Checkpoint
  ) throws(ModelError) -> PackedCodes {
    for suffix in ["_zero_point", "_g_idx"] {
      guard let other = checkpoint.tensor(named: name + suffix) else { continue }
      throw bad(other, "says that codes are asymmetric or out of order, which is not read")
    }
    try require(codes, [.i32])
    let scales = try find(name + "_scale", [.bf16, .f16, .f32], checkpoint)
    let size = try find(name + "_shape", [.i64], checkpoint)
    guard size.entry.shape.dimensions == [2] else {
      throw bad(size, "has shape \(size.entry.shape), must be [2]")
    }
    let sides = [0, 8].map { Int(size.file.bytes(of: size.entry).integer(at: $0, as: Int64.self)) }
    let (words, groups) = (codes.entry.shape.dimensions, scales.entry.shape.dimensions)
    guard let shape = Shape(sides), words.count == 2, groups.count == 2, words[0] == sides[0], groups[0] == sides[0],
      shape.elementCount > 0, words[1] > 0, groups[1] > 0, sides[1] % groups[1] == 0
    else {
      throw bad(
        codes,
        "has shape \(codes.entry.shape), its scales \(scales.entry.shape): not those of a matrix \(sides) in groups"
      )
    }
    return try PackedCodes(
      name, shape, tool: "compressed-tensors", .words, bits: bits(ofWords: words[1], columns: sides[1], codes),
      groupSize: sides[1] / groups[1], codes: codes, scales: scales, parts: [codes, scales, size])
  }

  private static func gptq(
    _ module: String, _ codes: Place, _ checkpoint: Checkpoint, _ settings: QuantizationConfiguration
  ) throws(ModelError) -> PackedCodes {
    try require(codes, [.i32])
    let scales = try find(module + ".scales", [.f16, .bf16, .f32], checkpoint)
    let zeros = try find(module + ".qzeros", [.i32], checkpoint)
    let words = codes.entry.shape.dimensions
    let groups = scales.entry.shape.dimensions
    // Files may go without the groups of columns, which then are in order.
    let order = checkpoint.tensor(named: module + ".g_idx")
    if let order { try require(order, [.i32]) }
    // Counts of elements that there are: none is too large to be multiplied by bits.
    let isMatrix =
      words.count == 2 && groups.count == 2 && codes.entry.shape.elementCount > 0 && groups[0] > 0
      && words[1] == groups[1]
    let columns = isMatrix ? order?.entry.shape.elementCount ?? words[0] * 32 / settings.bits : 0
    guard columns > 0, columns % groups[0] == 0 else {
      throw bad(
        codes, "has shape \(codes.entry.shape), its scales \(scales.entry.shape): not those of a matrix in groups")
    }
    let bits = try bits(ofWords: words[0], columns: columns, codes)
    guard zeros.entry.shape.dimensions == [groups[0], words[1] * bits / 32], words[1] * bits % 32 == 0 else {
      throw bad(
        zeros, "has shape \(zeros.entry.shape), which does not give a zero for each scale \(scales.entry.shape)")
    }
    let groupSize = columns / groups[0]
    var isInOrder = true
    if let order {
      let bytes = order.file.bytes(of: order.entry)
      for column in 0..<columns {
        let group = Int(bytes.integer(at: 4 * column, as: Int32.self))
        guard (0..<groups[0]).contains(group) else {
          throw bad(order, "says that column \(column) is of group \(group); there are \(groups[0])")
        }
        if group != column / groupSize { isInOrder = false }
      }
    }
    return PackedCodes(
      module + ".weight", Shape(rows: words[1], columns: columns), tool: "GPTQ", .columns, bits: bits,
      groupSize: groupSize, codes: codes, scales: scales,
      offsets: .zeros(zeros, lowered: settings.storesZeros ? 0 : 1), order: isInOrder ? nil : order,
      parts: [codes, scales, zeros] + (order.map { [$0] } ?? []))
  }

  private static func mlx(
    _ module: String, _ codes: Place, _ checkpoint: Checkpoint, _ settings: QuantizationConfiguration
  ) throws(ModelError) -> PackedCodes {
    let floats: [DType] = [.bf16, .f16, .f32]
    let scales = try find(module + ".scales", floats, checkpoint)
    let biases = try find(module + ".biases", [scales.entry.dtype], checkpoint)
    guard let (bits, groupSize) = settings.affine(module) else {
      throw bad(codes, "has scales and biases, but config.json has no `quantization` with bits and group_size for it")
    }
    let (words, groups) = (codes.entry.shape.dimensions, scales.entry.shape.dimensions)
    guard [2, 3].contains(words.count), groups.dropLast() == words.dropLast(), codes.entry.shape.elementCount > 0,
      groups == biases.entry.shape.dimensions, words[words.count - 1] * 32 == groups[words.count - 1] * groupSize * bits
    else {
      throw bad(
        codes,
        "has shape \(codes.entry.shape), its scales \(scales.entry.shape) and biases \(biases.entry.shape): not those of "
          + "\(bits) bits in groups of \(groupSize)")
    }
    let columns = groups[groups.count - 1] * groupSize
    guard let shape = Shape(words.dropLast() + [columns]) else { throw bad(codes, "has too many elements") }
    return try PackedCodes(
      codes.entry.name, shape, tool: "MLX", .words,
      bits: Self.bits(ofWords: words[words.count - 1], columns: columns, codes), groupSize: groupSize, codes: codes,
      scales: scales, offsets: .biases(biases), parts: [codes, scales, biases])
  }

  private static func ggml(_ blocks: Place, bits: Int) -> PackedCodes? {
    guard blocks.entry.shape.dimensions.count >= 2, blocks.entry.shape.elementCount > 0 else { return nil }
    return PackedCodes(
      blocks.entry.name, blocks.entry.shape, tool: "GGUF", .blocks, bits: bits,
      groupSize: GGUFTypes.blockElementCount, codes: blocks, scales: blocks, parts: [blocks])
  }

  // MARK: Parts

  private static func find(
    _ name: String, _ types: [DType], _ checkpoint: Checkpoint
  ) throws(ModelError) -> Place {
    guard let found = checkpoint.tensor(named: name) else {
      throw .missingTensor(name, directory: checkpoint.directory)
    }
    try require(found, types)
    return found
  }

  private static func require(_ place: Place, _ types: [DType]) throws(ModelError) {
    guard types.contains(place.entry.dtype) else {
      let wanted = types.map(\.name).joined(separator: " or ")
      throw bad(place, "has type \(place.entry.dtype.name); beside packed codes it must be \(wanted)")
    }
  }

  /// Rows of whole runs of 32 codes, as all that is read has. There are as many words as that, and any number of columns above 0.
  private static func bits(ofWords words: Int, columns: Int, _ codes: Place) throws(ModelError) -> Int {
    let bits = words * 32 / columns
    guard columns % 32 == 0, words * 32 % columns == 0, [4, 8].contains(bits) else {
      throw bad(codes, "has \(32 * words) bits for \(columns) columns; 4 and 8 bits in whole runs of 32 are read")
    }
    return bits
  }

  static func bad(_ tensor: Place, _ detail: String) -> ModelError {
    .badTensor(
      name: tensor.entry.name, detail: detail, path: tensor.file.path, byteOffset: tensor.entry.headerOffset)
  }

  /// Why it cannot be taken as it is, whatever its scales are.
  ///
  /// - Throws: ``ModelError/notHeld(name:detail:path:byteOffset:)`` where no encoding has such codes.
  func requireEncoding() throws(ModelError) {
    guard encoding == nil else { return }
    throw .notHeld(
      name: codes.entry.name,
      detail: order == nil
        ? "has groups of \(groupSize), packs have 32, 64 and 128"
        : "has codes out of order (act-order), whose groups are no runs of columns",
      path: codes.file.path, byteOffset: codes.entry.headerOffset)
  }
}
