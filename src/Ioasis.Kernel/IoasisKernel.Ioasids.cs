using Ioasis.Core;

namespace Ioasis.Kernel;

/// <content>IOASIDs.</content>
internal sealed partial class IoasisKernel
{
    private const string IoasidPath = "/dev/ioasid";

    /// <summary>Who has which PASID; its audit is empty when every descriptor is closed and nothing leaked.</summary>
    public PasidAllocator Pasids { get; }

    internal PasidQuota? PasidAccount => _options.PasidAccount;

    /// <summary>The address space of the user's process, for devices that use its own addresses; null if it has none.</summary>
    public ProcessAddressSpace? Process { get; set; }

    /// <summary>
    /// Finds the table of a virtual machine by its descriptor: for whoever runs the guest's ENQCMD (S1.13). It stays usable
    /// when the descriptor is closed, and is empty then.
    /// </summary>
    public bool TryGetVmPasidTable(int descriptor, out VmPasidTable? table)
    {
        table = null;
        if (Descriptors.TryGet(descriptor, out OpenFile? file))
        {
            table = (file as IoasidVmFile)?.Table;
            file!.Dereference();
        }

        return table is not null;
    }
}
