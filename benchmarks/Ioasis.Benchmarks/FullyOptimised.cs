using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;

namespace Ioasis.Benchmarks;

/// <summary>
/// For benchmarks that prepare every iteration: such an iteration is one invocation, too few for the JIT to replace its first,
/// slow version of the code in time.
/// </summary>
public sealed class FullyOptimised : ManualConfig
{
    public FullyOptimised() =>
        AddJob(Job.Default.WithEnvironmentVariable("DOTNET_TieredCompilation", "0").AsMutator());
}
