namespace Ioasis.Campaigns.Noise;

/// <summary>A number that stands for all that was seen: two runs that differ anywhere differ in it (FNV-1a over doublewords).</summary>
internal struct NoiseDigest
{
    private ulong _value;

    public NoiseDigest() => _value = 0xcbf2_9ce4_8422_2325;

    public readonly ulong Value => _value;

    public void Add(ulong seen) => _value = (_value ^ seen) * 0x100_0000_01b3;
}
