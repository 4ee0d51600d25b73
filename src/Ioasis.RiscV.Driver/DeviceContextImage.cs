using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>The doublewords of a device context (section 2.1.2); the last three only in the extended format.</summary>
internal readonly record struct DeviceContextImage(
    ulong Control,
    ulong SecondStage,
    ulong Attributes,
    ulong FirstStage,
    ulong MsiTable,
    ulong MsiMask,
    ulong MsiPattern)
{
    /// <summary>A doubleword by its place.</summary>
    public ulong this[int index] => index switch
    {
        DeviceContextOffset.TranslationControl / 8 => Control,
        DeviceContextOffset.Iohgatp / 8 => SecondStage,
        DeviceContextOffset.TranslationAttributes / 8 => Attributes,
        DeviceContextOffset.FirstStageContext / 8 => FirstStage,
        DeviceContextOffset.MsiPageTablePointer / 8 => MsiTable,
        DeviceContextOffset.MsiAddressMask / 8 => MsiMask,
        DeviceContextOffset.MsiAddressPattern / 8 => MsiPattern,
        _ => 0,
    };

    /// <summary>The only doubleword in which two contexts differ, -1 if there is none, -2 if there are more.</summary>
    public int SingleDifference(in DeviceContextImage other)
    {
        int found = -1;
        for (int i = 0; i < DeviceContextOffset.Reserved / 8; i++)
        {
            if (this[i] != other[i])
            {
                if (found >= 0)
                {
                    return -2;
                }

                found = i;
            }
        }

        return found;
    }
}
