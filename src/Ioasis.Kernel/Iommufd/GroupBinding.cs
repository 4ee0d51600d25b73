using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Kernel;

/// <summary>
/// A group of which a descriptor has devices (Linux: <c>iommufd_group</c>): without PASID all are attached to one table, and
/// so with each PASID. Under the attach lock.
/// </summary>
internal sealed class GroupBinding(IommuGroup group)
{
    /// <summary>The group.</summary>
    public IommuGroup Group => group;

    /// <summary>What is attached, by PASID; <see cref="Pasid.None"/> is what has none.</summary>
    public Dictionary<Pasid, Attachment> Attachments { get; } = [];

    /// <summary>Devices that are bound.</summary>
    public int Bound { get; set; }

    /// <summary>Whether a table may be attached beside what is attached already.</summary>
    public bool IsCompatible(HwptObject table, Pasid pasid) =>
        pasid.IsPresent
            ? table.AllowsPasids && (!Attachments.TryGetValue(Pasid.None, out Attachment? plain) || plain.Table.AllowsPasids)
            : table.AllowsPasids || !Attachments.Keys.Any(static other => other.IsPresent);

    /// <summary>Switches the hardware.</summary>
    /// <param name="pasid">Which requests.</param>
    /// <param name="table">To what.</param>
    /// <param name="isFirst">Nothing is attached.</param>
    public Errno Switch(Pasid pasid, HwptObject table, bool isFirst) =>
        (pasid.IsPresent, isFirst) switch
        {
            (false, _) => group.Attach(table.Domain),
            (true, true) => group.AttachPasid(pasid, table.Domain),
            (true, false) => group.ReplacePasid(pasid, table.Domain),
        };

    /// <summary>Blocks the DMA.</summary>
    public Errno Block(Pasid pasid) => pasid.IsPresent ? group.DetachPasid(pasid) : group.Detach();
}

/// <summary>A table to which devices of a group are attached.</summary>
internal sealed class Attachment(HwptObject table)
{
    /// <summary>The table; each of the devices uses it.</summary>
    public HwptObject Table { get; set; } = table;

    /// <summary>The devices that were attached through this descriptor.</summary>
    public List<DeviceObject> Devices { get; } = [];
}
