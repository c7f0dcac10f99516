import Safetensors
import Tensors
import TestSupport

typealias WeightChange = @Sendable ([Float]) -> [Float]

/// A copy of pico with other numbers in some tensors.
///
/// - Parameter changes: by the beginning of tensors' names, what becomes of their elements.
func changePicoWeights(to directory: String, _ changes: [String: WeightChange]) throws {
  let copied = try Command(shell: "cp -rL '\(pico)' '\(directory)' && chmod -R u+w '\(directory)'", in: "/tmp").wait()
  guard copied.code == 0 else { throw TestFailure("cannot copy pico: \(copied.err)") }
  var missed = Set(changes.keys)
  for shard in listing(of: directory) where shard.hasSuffix(".safetensors") {
    let path = "\(directory)/\(shard)"
    var bytes = try contents(of: path)
    for entry in try SafetensorsFile(path: path).tensors {
      guard let (prefix, change) = changes.first(where: { entry.name.hasPrefix($0.key) }) else { continue }
      missed.remove(prefix)
      let changed = change(floats(Array(bytes[entry.byteRange]), as: entry.dtype))
      bytes.replaceSubrange(entry.byteRange, with: changed.flatMap { elementBytes($0, as: entry.dtype) })
    }
    try write(bytes, to: path)
  }
  guard missed.isEmpty else { throw TestFailure("pico has no \(missed.sorted())") }
}
