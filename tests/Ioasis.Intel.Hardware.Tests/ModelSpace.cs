using Ioasis.Intel.Architecture;

namespace Ioasis.Intel.Hardware.Tests;

/// <summary>One mapping: <see cref="Size"/> bytes at <see cref="Input"/> are at <see cref="Output"/>.</summary>
internal sealed record ModelMapping(ulong Input, ulong Output, int SizeLog2, bool CanRead, bool CanWrite)
{
    public ulong Size => 1ul << SizeLog2;
}

/// <summary>What one address space of a model does: a list for each stage, searched from end to end. It knows nothing of tables.</summary>
internal sealed class ModelSpace
{
    public required PasidTranslationType Type { get; init; }

    public required int FirstLevels { get; init; }

    public required int SecondLevels { get; init; }

    public List<ModelMapping> First { get; } = [];

    public List<ModelMapping> Second { get; } = [];

    public bool HasFirst => Type is PasidTranslationType.FirstStage or PasidTranslationType.Nested;

    public bool HasSecond => Type is PasidTranslationType.SecondStage or PasidTranslationType.Nested;

    public ulong? Translate(ulong address, bool write)
    {
        ulong? result = address;
        if (HasFirst)
        {
            result = Through(First, address, write);
        }

        return HasSecond && result is { } between ? Through(Second, between, write) : result;
    }

    private static ulong? Through(List<ModelMapping> mappings, ulong address, bool write)
    {
        foreach (ModelMapping mapping in mappings)
        {
            if (address - mapping.Input < mapping.Size)
            {
                return (write ? mapping.CanWrite : mapping.CanRead) ? mapping.Output + (address - mapping.Input) : null;
            }
        }

        return null;
    }
}
