using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Address-translation caches (section 2.8) and their invalidation.</content>
public sealed partial class RiscVIommu
{
    /// <summary>An IOTINVAL command (section 3.1.1).</summary>
    private struct TranslationInvalidation
    {
        public bool SecondStage;
        public bool HasGscid;
        public uint Gscid;
        public bool HasPscid;
        public uint Pscid;
        public bool HasAddress;
        public bool NonLeaf;

        /// <summary>First byte of the range.</summary>
        public ulong Address;

        /// <summary>log2 of the bytes of the range, 12 to 64.</summary>
        public int SizeLog2;
    }

    private bool LocateDevice(Configuration configuration, ref Request request, out DeviceContextData device) =>
        WalkDeviceDirectory(configuration, ref request, out device);

    private void InvalidateTranslations(in TranslationInvalidation invalidation) =>
        CountCommand(invalidation.SecondStage ? CommandKind.InvalidateSecondStage : CommandKind.InvalidateFirstStage);

    private void InvalidateDevices(uint? device) => CountCommand(CommandKind.InvalidateDeviceDirectory);

    private void InvalidateProcess(uint device, uint process) => CountCommand(CommandKind.InvalidateProcessDirectory);
}
