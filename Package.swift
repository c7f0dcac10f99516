// swift-tools-version: 6.3
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(), .treatWarning("StrictMemorySafety", as: .error),  // every unsafe use is marked
  .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"), .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]
/// Targets that define functions or properties returning a span.
let spans = settings + [.enableExperimentalFeature("Lifetimes")]

/// For tests that compute little themselves: what they test is optimized, and to optimize them, too, would take longer than
/// they run.
let plainTests = settings + [.unsafeFlags(["-Onone"])]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

/// A library and the tests beside it; each lists exactly what it imports, and the arrows only go down.
func library(
  _ name: String, uses: [String] = [], _ swiftSettings: [SwiftSetting] = settings, testsUse: [String] = [],
  tests: [SwiftSetting] = plainTests
) -> [Target] {
  let uses = uses.map { Target.Dependency.byName(name: $0) }
  return [
    .target(name: name, dependencies: uses, swiftSettings: swiftSettings, linkerSettings: [.linkedLibrary("m")]),
    .testTarget(
      name: "\(name)Tests",
      dependencies: uses + [.byName(name: name), "TestSupport"] + testsUse.map { .byName(name: $0) },
      swiftSettings: tests),
  ]
}

var targets: [Target] = [
  .target(name: "CKernels", linkerSettings: [.linkedLibrary("m")]),
  .systemLibrary(name: "CLinux"),  // calls of glibc that Swift does not see
  .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
  .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),  // for tests
  .target(
    name: "TestSupport", dependencies: ["JSON", "Storage", "Tensors", "Safetensors", "Pack"], path: "Tests/TestSupport",
    swiftSettings: spans),
]
targets += library("Text")
targets += library("JSON", uses: ["Text"], spans)
targets += library("Storage", uses: ["Text", "CLinux"], spans, tests: settings)
targets += library("Tensors")
targets += library("Patterns")
targets += library("Templates", uses: ["JSON"])
targets += library("Tokenizers", uses: ["JSON", "Patterns", "Templates"])
targets += library(
  "Kernels", uses: ["Tensors", "CKernels"], spans, testsUse: ["CXXHash"], tests: settings)
targets += library("Safetensors", uses: ["JSON", "Text", "Storage", "Tensors"], spans)
targets += library("Quantization", uses: ["Storage", "Tensors", "Kernels"], spans, testsUse: ["Safetensors"])
targets += library("Pack", uses: ["JSON", "Storage", "Tensors", "Kernels", "CZstd"], spans, tests: settings)
targets += library("Journals", uses: ["JSON", "Storage", "Pack"])
targets += library(
  "Models", uses: ["JSON", "Storage", "Tensors", "Kernels", "Safetensors", "Pack"], spans,
  testsUse: ["Conversion", "Quantization"], tests: settings)
targets += library(
  "Decoding", uses: ["Kernels", "Models"],
  testsUse: ["JSON", "Storage", "Tensors", "Conversion", "Quantization", "Pack", "Safetensors"])
targets += library(
  "Calibration",
  uses: ["JSON", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Journals", "Models"], spans,
  testsUse: ["Conversion"])
targets += library(
  "Conversion",
  uses: [
    "JSON", "Patterns", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Journals", "Models",
    "Calibration",
  ])
targets += library(
  "Inspection", uses: ["JSON", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Models"], spans)
targets += library(
  "Drift",
  uses: [
    "JSON", "Patterns", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Models", "Decoding",
    "Inspection",
    "Text",
  ], spans, testsUse: ["Conversion", "Tokenizers"])
targets += library(
  "Export",
  uses: ["JSON", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Models", "Tokenizers"], spans,
  testsUse: ["Conversion"], tests: settings)
targets += library("DriftPage", uses: ["JSON", "Text", "Drift"], tests: settings)
targets += library(
  "Verification",
  uses: [
    "JSON", "Text", "Storage", "Tokenizers", "Kernels", "Pack", "Journals", "Models", "Decoding", "Inspection", "Drift",
  ], spans)

targets += [
  .executableTarget(
    name: "ingot",
    dependencies: [
      "JSON", "Storage", "Tensors", "Kernels", "Quantization", "Safetensors", "Pack", "Models", "Conversion",
      "Calibration", "Inspection", "Export",
      "Patterns", "Templates", "Tokenizers", "Decoding", "Drift", "DriftPage", "Verification", "Text", "Journals",
      argumentParser,
    ],
    swiftSettings: settings),
  .executableTarget(
    name: "bench", dependencies: ["Drift", "Kernels", "Models", "Quantization", "Pack", "Storage", "Tensors"],
    path: "Tools/Bench",
    exclude: ["runs", "compare-encodings.py", "compare-drift.py", "compare-fidelity.py", "peers", "peers.py"],
    swiftSettings: settings),
  // For `Tools/reference/compare_templates.py`.
  .executableTarget(
    name: "render-template", dependencies: ["JSON", "Templates"], path: "Tools/RenderTemplate",
    swiftSettings: settings),
  // Runs the binary, which is built with the tests: without a dependency, it is compiled meanwhile.
  .testTarget(
    name: "CommandTests", dependencies: ["JSON", "Pack", "Safetensors", "Storage", "Tensors", "TestSupport"],
    swiftSettings: plainTests),
]

let package = Package(
  name: "ingot",
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: targets
)
